"""Bodies and answers of what the workshop's page asks: its seats, and their cards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from .answers import Answer, Status
from .fields import Text
from .projects import Body, example


class MakeCards(Body):
    """For which seats (all, without), and whether they get new passwords."""

    model_config = example({"newPasswords": True})

    project_ids: list[Text] | None = Field(default=None, examples=[["abc123def456"]])
    new_passwords: StrictBool | None = None


class SeatClaim(Answer):
    name: str = Field(examples=["Max Mustermann"])
    email: str = Field(examples=["max@example.com"])
    claimedAt: str = Field(examples=["2026-04-19T10:00:00.000Z"])


class DeniedDomain(Answer):
    domain: str = Field(examples=["example.org"])
    count: int


class SeatActivity(Answer):
    lastHeartbeat: str | None
    lastCommit: str | None
    deniedDomains: list[DeniedDomain]


class Seat(Answer):
    projectId: str
    projectName: str
    workspaceUrl: str
    status: Status
    claim: SeatClaim | None
    activity: SeatActivity


class Seats(Answer):
    success: Literal[True] = True
    seats: list[Seat]


class Card(Answer):
    projectId: str
    projectName: str
    workspaceUrl: str
    participant: str | None
    password: str | None
    error: str | None


class Cards(Answer):
    success: Literal[True] = True
    cards: list[Card]
