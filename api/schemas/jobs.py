"""Answers of the job calls."""

from __future__ import annotations

from typing import Annotated, Literal

from atelier.common.models import Status
from atelier.database.job_store import JobState
from typing_extensions import TypedDict

from .common import Coded, Done, Success, doc, eg


class JobProgress(TypedDict):
    done: int
    total: int


class JobSeat(Coded):
    """The result of a job for one workspace."""

    projectId: Annotated[str, eg("abc123def456")]
    projectName: Annotated[str | None, doc("Null for a deleted workspace.")]
    status: Annotated[Status | Literal["deleted"], doc("deleted: the workspace is gone.")]
    error: str | None
    warnings: list[str]


class JobAnswer(Coded):
    id: str
    operation: str
    state: JobState
    projectIds: list[str]
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    progress: JobProgress
    seats: Annotated[list[JobSeat], doc("Empty until the job has ended.")]
    error: str | None


class OneJob(Success):
    job: JobAnswer


class JobList(Success):
    jobs: list[JobAnswer]


class JobBegun(Done):
    jobId: str
