"""Answers of the workshop calls, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .answers import Answer, Coded, Done, Error, JobAnswer, Status, sometimes


class WorkshopStatus(Answer):
    available: int = Field(examples=[15])
    total: int = Field(examples=[20])
    claimed: int = Field(examples=[5])
    endsAt: str = sometimes("Missing where no end is set.", examples=["2026-04-19T17:00:00.000Z"])


class ClaimedSeat(Coded):
    workspaceUrl: str = Field(examples=["http://abc123def456.localhost/"])
    projectName: str = Field(examples=["Workshop 1"])
    diskWarning: str = sometimes("A sentence on a disk that is nearly full, or was; missing otherwise.")
    password: str = sometimes("The seat's new password, only in this answer. Missing where the workshop makes none.")


class ClaimRefused(Error, Coded):
    """Whoever has a seat already (ALREADY_CLAIMED) is told which one."""

    workspaceUrl: str = sometimes("Only with ALREADY_CLAIMED.", examples=["http://abc123def456.localhost/"])
    projectName: str = sometimes("Only with ALREADY_CLAIMED.", examples=["Workshop 1"])
    diskWarning: str = sometimes("As in the answer to a claim; only with ALREADY_CLAIMED.")


class ClaimView(Answer):
    projectId: str = Field(examples=["abc123def456"])
    name: str = Field(examples=["Max Mustermann"])
    email: str = Field(examples=["max@example.com"])
    projectName: str = Field(examples=["Workshop 1"])
    workspaceUrl: str = Field(examples=["http://abc123def456.localhost/"])
    claimedAt: str = Field(examples=["2026-04-19T10:00:00.000Z"])


class EndedClaim(ClaimView):
    releasedAt: str = Field(examples=["2026-04-19T17:00:00.000Z"])


class ClaimList(Answer):
    claims: list[ClaimView]
    history: list[EndedClaim]


class ReleasedSeat(Answer):
    success: Literal[True]
    released: ClaimView
    sessions: Literal["ended"] = Field(description="Every session and process of the former participant has ended.")
    password: Literal["changed", "kept", "none"] = Field(
        description="changed: nobody knows the seat's password. kept: the former participant may know it. none: the"
        " seat is open to everybody who knows its address."
    )
    files: Literal["kept", "reset"]
    keptContainer: str | None = Field(
        description="What the files were, stopped, where they were reset.",
        examples=["atelier-abc123def456-kept-20270301t160000000000z"],
    )


class RehearsalBegun(Done):
    jobId: str


class FirstLimit(Answer):
    what: str = Field(examples=["memory"])
    seats: int = Field(examples=[37])


class RehearsalVerdict(Coded):
    go: bool
    seats: int
    madeIn: float = Field(description="Seconds until all seats were made.")
    p50: float | None = Field(description="Seconds until an opened seat's WebSocket is open.")
    p95: float | None
    memoryPerSeat: int
    diskPerSeat: int
    firstLimit: FirstLimit
    reasons: list[str]


class LastRehearsal(Answer):
    success: Literal[True]
    job: JobAnswer | None
    verdict: RehearsalVerdict | None


class DeniedDomain(Answer):
    domain: str = Field(examples=["example.org"])
    count: int


class Seat(Coded):
    projectId: str = Field(examples=["abc123def456"])
    projectName: str = Field(examples=["Workshop 1"])
    workspaceUrl: str = Field(examples=["http://abc123def456.localhost/"])
    status: Status
    lastHeartbeat: str | None = Field(description="When somebody used its IDE last.")
    lastCommit: str | None = Field(description="When something was committed last in its /workspace.")
    deniedDomains: list[DeniedDomain] = Field(description="What its proxy refused of late, the most frequent first.")
    connections: int
    extendedUntil: str | None
    diskWarning: str | None
    name: str | None
    email: str | None
    claimedAt: str | None


class SeatList(Answer):
    success: Literal[True]
    seats: list[Seat]


class SeatPassword(Answer):
    success: Literal[True]
    projectId: str
    password: str


class CollectedSeat(Coded):
    projectId: str = Field(examples=["abc123def456"])
    projectName: str = Field(examples=["Workshop 1"])
    state: str = Field(description="What it was in when it was collected.", examples=["running"])
    collectedAt: str | None = Field(examples=["2026-04-19T17:30:00.000Z"])
    file: str | None = Field(examples=["Workshop-1_abc123def456_9f86d081884c.tar.zst"])
    bytes: int = Field(examples=[1048576])
    sha256: str | None
    branch: str | None = Field(examples=["clone/Workshop-1"])
    commit: str | None
    committed: bool
    pushed: bool
    note: str | None = Field(description="Why its work is not pushed.")
    error: str | None = Field(description="Why the last attempt failed; the archive is then that of the one before.")


class ToRemove(Answer):
    projectId: str
    projectName: str
    isBase: bool
    collected: bool


class Collected(Answer):
    success: Literal[True]
    seats: list[CollectedSeat] = Field(description="Whatever was collected, also of seats that are gone.")
    workspaces: list[ToRemove] = Field(description="What the workshop consists of now.")
    job: JobAnswer | None = Field(description="The newest collect.")
    teardown: JobAnswer | None = Field(description="The newest teardown.")


class JobBegun(Done):
    jobId: str
