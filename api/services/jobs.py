"""Runs changes: stores the job, reserves what it needs, runs the playbook, and writes the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

from atelier.common.errors import AtelierError
from atelier.common.models import StopReason
from atelier.database.job_store import Job

from ..auth.middleware import Caller
from ..runner.adapter import Ended
from ..runner.operations import BACKUP, raise_for
from ..schemas.jobs import JobAnswer, JobSeat
from .services import Services

# The event of a cancelled job.
CANCELING = "canceling"
# Jobs without a workspace that the audit log has a line of.
_AUDITED = ("whitelist", "repository", BACKUP)


async def run_job(
    services: Services,
    caller: Caller,
    operation: str,
    ids: Sequence[str],
    variables: Mapping[str, Any] | None = None,
    reserve: Callable[[], object] | None = None,
) -> Ended:
    """Runs a job to its end, which it reaches also when the caller goes away, or until Docker goes away in the middle.
    Raises the playbook's error, and SERVICE_UNAVAILABLE."""
    services.require_docker()
    source = ids[0] if ids else None
    job, _ = await start_job(services, caller, operation, ids, variables, reserve=reserve, source=source)
    ended = await services.queue.first_result(job.id)
    raise_for(ended)
    return ended


async def start_job(
    services: Services,
    caller: Caller,
    operation: str,
    ids: Sequence[str],
    variables: Mapping[str, Any] | None = None,
    *,
    reserve: Callable[[], object] | None = None,
    source: str | None = None,
    secrets: Mapping[str, str] | None = None,
) -> tuple[Job, asyncio.Future[Ended]]:
    """Stores a job and queues it. Returns it, and its end as ``submit`` does.

    ``reserve`` is called in the transaction that stores the job: a crash or a full disk leaves both or neither. If it
    refuses, the audit log gets a line about the workspace ``source``.
    """

    def write() -> Job:
        with services.store.transaction() if reserve else nullcontext():
            job = services.jobs.create(operation, ids, variables or {}, caller.name)
            if reserve:
                reserve()
        return job

    try:
        job = await asyncio.to_thread(write)
    except AtelierError as error:
        if reserve:
            services.audit.write(caller.name, operation, source, f"refused: {error.code}")
        raise
    return job, submit(services, caller, job, secrets=secrets)


async def start_stop(services: Services, caller: Caller, id: str, reason: StopReason, stopping: set[str]) -> None:
    """Queues the stop of a workspace. Its id is in ``stopping`` until the job has ended, or could not be stored."""
    stopping.add(id)
    try:
        _, end = await start_job(services, caller, "stop", [id], {"workspace_stop_reason": reason})
    except Exception:
        stopping.discard(id)
        raise
    end.add_done_callback(lambda _: stopping.discard(id))


def submit(
    services: Services,
    caller: Caller,
    job: Job,
    *,
    after: asyncio.Event | None = None,
    canceled: bool = False,
    secrets: Mapping[str, str] | None = None,
    outcome: Ended | None = None,
) -> asyncio.Future[Ended]:
    """Queues the job, as ``Queue.submit`` does. When it has ended the audit log gets a line for each workspace, and for
    some jobs without one."""
    # Read before the run, because deleted workspaces are on no machine afterwards.
    places = {id: place for id in job.project_ids if (place := services.place(id))}
    future = services.queue.submit(job, after=after, canceled=canceled, secrets=secrets, outcome=outcome)

    def write_audit(done: asyncio.Future[Ended]) -> None:
        if done.cancelled():
            return
        ended = done.result()
        record = services.read_jobs.find(job.id)
        failed = {seat["projectId"] for seat in (record.seats if record else ()) if seat["status"] == "error"}
        more = {"source": job.variables["source_id"]} if "source_id" in job.variables else {}
        ids: Sequence[str | None] = job.project_ids or ([None] if job.operation in _AUDITED else [])
        for id in ids:
            here = "error" if ended.error is None and id in failed else ended.outcome
            place = (services.place(id) or places.get(id)) if id else None
            where = {"node": place} if place else {}
            services.audit.write(caller.name, job.operation, id, here, job.id, **where, **more)

    future.add_done_callback(write_audit)
    return future


def newest(services: Services, operation: str) -> Job | None:
    """The operation's newest job."""
    return next((job for job in services.read_jobs.all(1000) if job.operation == operation), None)


def job_view(job: Job) -> JobAnswer:
    """A job as the contract shows it."""
    return {
        "id": job.id,
        "operation": job.operation,
        "state": job.state,
        "projectIds": list(job.project_ids),
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "finishedAt": job.finished_at,
        "progress": {"done": job.done, "total": job.total},
        "seats": list(cast("Sequence[JobSeat]", job.seats)),
        "error": job.error,
    }
