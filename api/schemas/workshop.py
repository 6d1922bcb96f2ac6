"""Bodies and answers of the workshop calls, from the first claim to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NotRequired

from atelier.common.validation import EMAIL_LENGTH, PERSON_LENGTH, check_email, check_person
from atelier.workshop.rehearsal import MOST_SEATS
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from .common import Body, Coded, Error, Success, doc, eg, example
from .fields import ID, Text, Whole, checked, length, shown
from .jobs import JobAnswer


class Rehearse(Body, json_schema_extra=example({"seats": 20, "projectId": "abc123def456"})):
    """The number of seats and their base; default: as many as the workshop has, of the workspace they came from."""

    seats: Whole | None = Field(default=None, ge=1, le=MOST_SEATS, examples=[20])
    project_id: Text | None = Field(default=None, examples=["abc123def456"], json_schema_extra={"pattern": ID})


class ClaimSeat(Body, json_schema_extra=example({"name": "Max Mustermann", "email": "max@example.com"})):
    """The participant who claims a seat. The access code is required if the workshop has one."""

    name: Annotated[
        Text,
        checked(check_person),
        shown("Max Mustermann", pattern="^[^\\x00-\\x20\\x7f][^\\x00-\\x1f\\x7f]*$", **length(PERSON_LENGTH)),
    ]
    email: Annotated[Text, checked(check_email), shown("max@example.com", format="email", maxLength=EMAIL_LENGTH)]
    access_code: Text | None = None


class WorkshopStatus(TypedDict):
    available: Annotated[int, eg(15)]
    total: Annotated[int, eg(20)]
    claimed: Annotated[int, eg(5)]
    endsAt: NotRequired[Annotated[str, eg("2026-04-19T17:00:00.000Z", "Missing where no end is set.")]]


class ClaimedSeat(Coded):
    workspaceUrl: Annotated[str, eg("http://abc123def456.localhost/")]
    projectName: Annotated[str, eg("Workshop 1")]
    diskWarning: NotRequired[Annotated[str, doc("A warning about its disk use; missing otherwise.")]]
    password: NotRequired[
        Annotated[str, doc("The seat's new password, only in this answer. Missing where the workshop makes none.")]
    ]


class ClaimRefused(Error, Coded):
    """A participant with a seat (ALREADY_CLAIMED) gets that seat."""

    workspaceUrl: NotRequired[Annotated[str, eg("http://abc123def456.localhost/", "Only with ALREADY_CLAIMED.")]]
    projectName: NotRequired[Annotated[str, eg("Workshop 1", "Only with ALREADY_CLAIMED.")]]
    diskWarning: NotRequired[Annotated[str, doc("As in the answer to a claim; only with ALREADY_CLAIMED.")]]


class ClaimView(TypedDict):
    projectId: Annotated[str, eg("abc123def456")]
    name: Annotated[str, eg("Max Mustermann")]
    email: Annotated[str, eg("max@example.com")]
    projectName: Annotated[str, eg("Workshop 1")]
    workspaceUrl: Annotated[str, eg("http://abc123def456.localhost/")]
    claimedAt: Annotated[str, eg("2026-04-19T10:00:00.000Z")]


class EndedClaim(ClaimView):
    releasedAt: Annotated[str, eg("2026-04-19T17:00:00.000Z")]


class ClaimList(TypedDict):
    claims: Sequence[ClaimView]
    history: Sequence[EndedClaim]


class ReleasedSeat(Success):
    released: ClaimView
    sessions: Annotated[Literal["ended"], doc("Every session and process of the former participant has ended.")]
    password: Annotated[
        Literal["changed", "kept", "none"],
        Field(
            description="changed: nobody knows the seat's password. kept: the former participant may know it. none: the"
            " seat is open to everybody who knows its address."
        ),
    ]
    files: Literal["kept", "reset"]
    keptContainer: Annotated[
        str | None,
        eg(
            "atelier-abc123def456-kept-20270301t160000000000z",
            "The stopped container with the old files, if they were reset.",
        ),
    ]


class FirstLimit(TypedDict):
    what: Annotated[str, eg("memory")]
    seats: Annotated[int, eg(37)]
    node: NotRequired[Annotated[str, eg("alpha", "The machine, for memory and disk. Missing on a single machine.")]]


class RehearsalVerdict(Coded):
    go: bool
    seats: int
    madeIn: Annotated[float, doc("Seconds until all seats were created.")]
    p50: Annotated[float | None, doc("Seconds until an opened seat's WebSocket is open.")]
    p95: float | None
    memoryPerSeat: int
    diskPerSeat: int
    firstLimit: FirstLimit
    reasons: list[str]


class LastRehearsal(Success):
    job: JobAnswer | None
    verdict: RehearsalVerdict | None


class TearDown(Body, json_schema_extra=example({"base": True})):
    """The objects to remove besides the collected seats."""

    collected: Literal["ignore"] | None = Field(
        default=None, description="ignore: what was not collected is lost.", examples=["ignore"]
    )
    base: StrictBool | None = Field(
        default=None, description="true: also remove the workspace that the seats were cloned from.", examples=[True]
    )


class CollectedSeat(Coded):
    projectId: Annotated[str, eg("abc123def456")]
    projectName: Annotated[str, eg("Workshop 1")]
    state: Annotated[str, eg("running", "Its state when it was collected.")]
    collectedAt: Annotated[str | None, eg("2026-04-19T17:30:00.000Z")]
    file: Annotated[str | None, eg("Workshop-1_abc123def456_9f86d081884c.tar.zst")]
    bytes: Annotated[int, eg(1048576)]
    sha256: str | None
    branch: Annotated[str | None, eg("clone/Workshop-1")]
    commit: str | None
    committed: bool
    pushed: bool
    note: Annotated[str | None, doc("Why its work is not pushed.")]
    error: Annotated[str | None, doc("Why the last attempt failed; the archive is then from an earlier one.")]


class ToRemove(TypedDict):
    projectId: str
    projectName: str
    isBase: bool
    collected: bool


class Collected(Success):
    seats: Annotated[list[CollectedSeat], doc("All archives, including those of removed seats.")]
    workspaces: Annotated[list[ToRemove], doc("The workshop's present workspaces.")]
    job: Annotated[JobAnswer | None, doc("The newest collect.")]
    teardown: Annotated[JobAnswer | None, doc("The newest teardown.")]
