"""Asking for a change: the job is written down, what it needs is reserved, the playbook runs, the audit log is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atelier.errors import AtelierError
from atelier.jobs import Job
from atelier.model import Workspace

from .access import Caller
from .deps import Services
from .operations import raise_for
from .runner.adapter import Ended


async def change(
    platform: Services, caller: Caller, operation: str, row: Workspace, variables: Mapping[str, Any] | None = None
) -> None:
    """Runs one operation on one workspace to its end. Raises what the playbook failed with."""
    platform.require_docker()
    job = await asyncio.to_thread(platform.jobs.open, operation, [row.id], variables or {}, caller.name)
    raise_for(await follow(platform, caller, job))


async def reserve(
    platform: Services,
    caller: Caller,
    operation: str,
    ids: Sequence[str],
    variables: Mapping[str, Any],
    reservation: Callable[[], object],
) -> Job:
    """Writes a job down, then reserves what it is for; without the reservation there is no job.

    In this order a crash in between leaves a job for rows that do not exist, which ends by itself, and never a row
    that nobody makes.
    """
    platform.require_docker()

    def write() -> Job:
        job = platform.jobs.open(operation, ids, variables, caller.name)
        try:
            reservation()
        except BaseException:
            platform.jobs.withdraw(job.id)
            raise
        return job

    try:
        return await asyncio.to_thread(write)
    except AtelierError as error:
        platform.audit.write(caller.name, operation, None, f"refused: {error.code}")
        raise


async def follow(platform: Services, caller: Caller, job: Job) -> Ended:
    """Queues the job and waits for its end, which it reaches also when the caller goes away."""
    return await asyncio.shield(begin(platform, caller, job))


def begin(platform: Services, caller: Caller, job: Job) -> asyncio.Future[Ended]:
    """Queues the job. The audit log gets a line when it has ended."""
    future = platform.queue.submit(job)

    def told(done: asyncio.Future[Ended]) -> None:
        if done.cancelled():
            return
        ended = done.result()
        outcome = ended.state if ended.error is None else f"{ended.state}: {ended.error.code}"
        for id in job.project_ids:
            platform.audit.write(caller.name, job.operation, id, outcome, job.id)

    future.add_done_callback(told)
    return future
