"""Seats as the admin sees them, and their cards."""

from __future__ import annotations

from typing import Annotated

from atelier.common.models import Status, StopReason
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from .common import Body, Coded, Success, doc, eg, example
from .fields import ID, Text


class MakeCards(Body, json_schema_extra=example({"newPasswords": True})):
    """The seats to make cards for (default: all), and whether they get new passwords."""

    project_ids: list[Annotated[Text, Field(json_schema_extra={"pattern": ID})]] | None = Field(
        max_length=1000, default=None, examples=[["abc123def456"]]
    )
    new_passwords: StrictBool | None = None


class DeniedDomain(TypedDict):
    domain: Annotated[str, eg("example.org")]
    count: int


class Seat(Coded):
    projectId: Annotated[str, eg("abc123def456")]
    projectName: Annotated[str, eg("Workshop 1")]
    workspaceUrl: Annotated[str, eg("http://abc123def456.localhost/")]
    status: Status
    stoppedFor: StopReason | None
    lastHeartbeat: Annotated[str | None, doc("When its IDE was last used.")]
    lastCommit: Annotated[str | None, doc("Time of the last commit in its /workspace.")]
    deniedDomains: Annotated[
        list[DeniedDomain], doc("Domains that its proxy refused recently, the most frequent first.")
    ]
    connections: int
    extendedUntil: str | None
    diskWarning: str | None
    name: str | None
    email: str | None
    claimedAt: str | None


class SeatList(Success):
    seats: list[Seat]


class SeatPassword(Success):
    projectId: str
    password: str


class Card(Coded):
    projectId: str
    projectName: str
    workspaceUrl: str
    participant: str | None
    password: str | None
    error: str | None


class Cards(Success):
    cards: list[Card]
