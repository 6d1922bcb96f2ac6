"""Bodies and answers of the alias and port calls."""

from __future__ import annotations

from typing import Annotated

from atelier.common.models import IDE_PORT
from atelier.gateway.aliases import (
    PASSWORD_LENGTH,
    SUBDOMAIN_LENGTH,
    USER_LENGTH,
    check_alias_password,
    check_port,
    check_user,
)
from typing_extensions import TypedDict

from .common import Body, Success, eg, example
from .fields import PRINTABLE, Text, Whole, checked, length, shown

Port = Annotated[Whole, checked(check_port), shown(3000, minimum=1, maximum=65535, **{"not": {"const": IDE_PORT}})]


class BasicAuth(Body):
    """The user name and password that the gateway requires."""

    user: Annotated[
        Text, checked(check_user), shown("guest", pattern=PRINTABLE.replace("[^", "[^:"), **length(USER_LENGTH))
    ]
    password: Annotated[
        Text, checked(check_alias_password), shown("guests-only", pattern=PRINTABLE, **length(PASSWORD_LENGTH))
    ]


class CreateAlias(
    Body,
    json_schema_extra=example(
        {"subdomain": "demo", "port": 3000, "basicAuth": {"user": "guest", "password": "guests-only"}}
    ),
):
    """A subdomain for a port; without ``basicAuth`` it is open to all who know it."""

    # The core checks it, because a reserved word has a different error than an invalid one.
    subdomain: Annotated[Text, shown("demo", pattern="^[a-z][a-z0-9-]+[a-z0-9]$", **length(SUBDOMAIN_LENGTH))]
    port: Port
    basic_auth: BasicAuth | None = None


class SharePort(Body, json_schema_extra=example({"password": "secure123!"})):
    """The workspace's password, from callers other than the operator."""

    password: Text | None = None


class ChangeAlias(Body, json_schema_extra=example({"port": 8000})):
    """Omitted fields stay; ``basicAuth: null`` opens the alias to all."""

    port: Port | None = None
    basic_auth: BasicAuth | None = None


class AliasView(TypedDict):
    subdomain: Annotated[str, eg("demo")]
    port: Annotated[int, eg(3000)]
    url: Annotated[str, eg("http://demo.localhost/")]
    basicAuth: bool
    user: str | None
    createdAt: str


class AliasList(Success):
    aliases: list[AliasView]


class OneAlias(Success):
    alias: AliasView


class OpenPort(TypedDict):
    port: Annotated[int, eg(3000)]
    reachable: bool
    url: Annotated[str, eg("http://abc123def456-3000.localhost/")]
    shared: bool
    passwordRequired: bool


class Ports(Success):
    ports: Annotated[list[int], eg([3000, 5173])]
    listening: list[OpenPort]
    shared: Annotated[list[int], eg([3000])]


class SharedPort(Success):
    projectId: Annotated[str, eg("abc123def456")]
    port: Annotated[int, eg(3000)]
    shared: bool
    url: Annotated[str, eg("http://abc123def456-3000.localhost/")]
