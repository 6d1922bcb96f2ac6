"""Answers of the alias calls, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .answers import AliasView, Answer


class AliasList(Answer):
    success: Literal[True]
    aliases: list[AliasView]


class OneAlias(Answer):
    success: Literal[True]
    alias: AliasView


class OpenPort(Answer):
    port: int = Field(examples=[3000])
    reachable: bool
    url: str = Field(examples=["http://abc123def456-3000.localhost/"])
    shared: bool
    passwordRequired: bool


class Ports(Answer):
    success: Literal[True]
    ports: list[int] = Field(examples=[[3000, 5173]])
    listening: list[OpenPort]
    shared: list[int] = Field(examples=[[3000]])


class SharedPort(Answer):
    success: Literal[True]
    projectId: str = Field(examples=["abc123def456"])
    port: int = Field(examples=[3000])
    shared: bool
    url: str = Field(examples=["http://abc123def456-3000.localhost/"])
