"""Resumes interrupted jobs after a crash, unless they have ended or a later decision replaced them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, untagged
from atelier.database.intent import Present, present
from atelier.database.job_store import ENDED, Job, JobState

from ..auth.middleware import Caller
from ..runner.adapter import Ended, end_leftover
from ..runner.operations import HASHES
from ..services.jobs import CANCELING, submit
from ..services.services import Services
from .maintenance import REPAIR

log = logging.getLogger("atelier")

_RECOVERY = Caller("127.0.0.1", "recovery")
_WANTED = {"start": "running", "stop": "stopped"}


def recover(services: Services, must_repair: bool) -> asyncio.Task[None] | None:
    """Resumes interrupted jobs in their order, before new ones.

    The playbooks are idempotent, so a job is resumed by running it again. First its old processes, which may have
    survived the API, must end, and incomplete objects be repaired.
    """
    unfinished = services.jobs.unfinished()
    if not unfinished and not must_repair:
        return None
    log.warning("taking up %d jobs that were interrupted", len(unfinished))
    repaired = asyncio.Event()
    for job in unfinished:
        if job.operation != REPAIR:
            _take_up(services, job, repaired)
    return asyncio.create_task(_repair(services, unfinished, repaired), name="recovery")


def _take_up(services: Services, job: Job, repaired: asyncio.Event) -> None:
    events = services.jobs.events(job.id)
    end = next((event for event in events if event.kind == ENDED), None)
    if end is not None:
        outcome: Ended | None = _ended(untagged(end.data))
    else:
        job, outcome = still_wanted(job, present(services.store, job.project_ids), services.jobs.later(job))
        text = Message("step.taken_up" if outcome is None else "step.not_repeated")
        services.jobs.add_event(job.id, "resumed", {"text": text})
    canceled = any(event.kind == CANCELING for event in events)
    submit(services, _RECOVERY, job, after=repaired, canceled=canceled, outcome=outcome)


def still_wanted(job: Job, rows: dict[str, Present], later: Sequence[Job]) -> tuple[Job, Ended | None]:
    """The job with its remaining work, or its end without another run.

    A start or stop is not repeated if the workspace was deliberately stopped or started since, a password if another
    was set, and other changes if a later job of the same kind replaced them.
    """
    if job.operation in _WANTED:
        id = job.project_ids[0]
        row = rows.get(id)
        if row and row.orders != job.basis.get(id, (row.orders,))[0] and row.wanted != _WANTED[job.operation]:
            return job, _superseded("superseded_by_order")
    if job.operation == "password":
        return _password_left(job, rows)
    if any(other.state is JobState.SUCCESSFUL and _overwrites(other, job) for other in later):
        return job, _superseded("superseded_by_job")
    return job, None


def _overwrites(later: Job, job: Job) -> bool:
    """Whether repeating the job would undo what the later one did."""
    if later.operation != job.operation:
        return False
    if job.operation == "alias":
        return later.variables.get("alias_subdomain") == job.variables.get("alias_subdomain")
    if job.operation == "whitelist":
        # Adding to a list twice does no harm; replacing one does.
        states = {later.variables.get("whitelist_state"), job.variables.get("whitelist_state")}
        same = later.variables.get("whitelist_group") == job.variables.get("whitelist_group")
        return same and states != {"present"}
    return False


def _password_left(job: Job, rows: dict[str, Present]) -> tuple[Job, Ended | None]:
    hashes = job.variables.get(HASHES)
    asked = {id: counters[1] for id, counters in job.basis.items()}
    left = [id for id, row in rows.items() if row.passwords == asked.get(id, row.passwords)]
    if hashes is not None and left:
        return replace(job, variables={**job.variables, HASHES: {id: hashes[id] for id in left if id in hashes}}), None
    if left:
        return job, None
    wanted = hashes or dict.fromkeys(job.project_ids, job.variables.get("workspace_password_hash"))
    if all(id in rows and rows[id].password_hash == wanted.get(id) for id in job.project_ids):
        return job, Ended("successful", {})
    return job, _superseded("superseded_by_password")


def _superseded(id: str) -> Ended:
    return Ended("canceled", {}, AtelierError(Code.CANCELED, Message(id)))


def _ended(told: Mapping[str, Any]) -> Ended:
    """The job's end according to its last event."""
    if told["state"] == JobState.SUCCESSFUL:
        return Ended("successful", {})
    return Ended(JobState(told["state"]), {}, AtelierError(Code.RUN_FAILED, as_message(told["error"] or told["state"])))


async def _repair(services: Services, unfinished: Sequence[Job], repaired: asyncio.Event) -> None:
    try:
        for job in unfinished:
            await asyncio.to_thread(end_leftover, job.id)
        while not services.watcher.available:
            await asyncio.sleep(0.2)
        repairs = [job for job in unfinished if job.operation == REPAIR]
        for repair in repairs or [await asyncio.to_thread(services.jobs.create, REPAIR, [], {}, _RECOVERY.name)]:
            await submit(services, _RECOVERY, repair)
    except Exception:  # the boundary: a failed repair must not prevent the jobs from being resumed
        log.exception("the repair after an interruption failed")
    repaired.set()
