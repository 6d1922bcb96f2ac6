"""Body and answers of the workshop's end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from .common import Body, Coded, Success, doc, eg, example
from .jobs import JobAnswer


class TearDown(Body):
    """The objects to remove besides the collected seats."""

    model_config = example({"base": True})

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
