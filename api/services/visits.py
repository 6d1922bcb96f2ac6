"""Visits: pages that somebody opens at the address of a workspace that sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, untagged
from atelier.common.models import Status, StopReason, Workspace
from atelier.database.claims import Claim, pool
from atelier.database.intent import wake
from atelier.database.job_store import Job, JobEvent
from atelier.workshop.idle_policy import extensions

from ..auth.middleware import Caller
from ..core.wakes import Visit
from ..runner.operations import WAKE, raise_for, seats_of
from .jobs import submit
from .services import Services

_CALLER = Caller("127.0.0.1", "visit")
_LOOK_SECONDS = 0.1
# Shown while another job, such as a stop, holds the workspace.
_AFTER_JOB = Visit(202, 0, 3)


async def visit(services: Services, row: Workspace, address: str) -> Visit:
    """Responds to a visit from this address to the workspace's page. Starts the workspace if it sleeps."""
    found = await services.wakes.follow(row.id, address)
    if found is not None:
        return found
    if not sleeps(services, row):
        return Visit(204)
    if not services.watcher.available:
        return Visit(503)
    if not services.watcher.answers(row.node):  # the gateway has a page for that
        return Visit(204)
    if row.id in await asyncio.to_thread(services.jobs.workspaces_with_open_jobs):
        return _AFTER_JOB
    # Another visit may have started it meanwhile.
    found = await services.wakes.follow(row.id, address)
    if found is not None:
        return found
    try:
        wake_up(services, row, address)
    except AtelierError as error:
        services.audit.refuse(Caller(address, address), WAKE, error.code, project=row.id)
        return Visit(429)
    return await services.wakes.follow(row.id, address) or Visit(204)


def wake_up(services: Services, row: Workspace, address: str) -> None:
    """Starts a workspace that sleeps, without waiting for it. Raises TOO_MANY_ATTEMPTS."""
    services.wakes.begin(row.id, address, lambda ids, ready: _start(services, ids, ready))
    services.audit.note(address, WAKE, row.id, "asked")


def wake_early(services: Services, row: Workspace, address: str) -> None:
    """Starts a sleeping workspace before its page is opened. The visit reports a refusal."""
    if sleeps(services, row) and services.watcher.answers(row.node) and row.id not in services.wakes.ids():
        with suppress(AtelierError):
            wake_up(services, row, address)


def wake_claimed(services: Services, claim: Claim, address: str) -> None:
    """Starts a participant's seat if it sleeps, so that it is ready when they open it."""
    row = services.reads.find(id=claim.workspace_id)
    if row is not None:
        wake_early(services, row, address)


def wake_seats_of(services: Services, browser: str, address: str) -> None:
    """Like ``wake_claimed``, for the seats that were claimed in this browser."""
    for claim in services.read_claims.of_browser(browser):
        wake_claimed(services, claim, address)


def sleeps(services: Services, row: Workspace) -> bool:
    """Whether a visit may start the workspace: it was stopped for a reason that the settings name, and its workshop is
    not over."""
    reasons = services.settings.wake_on_visit
    # One whose release failed may have its former participant's password.
    if row.status is not Status.STOPPED or row.stop_reason not in reasons or row.unreleased is not None:
        return False
    end = services.settings.workshop.end
    if end is None or StopReason.END in reasons or services.clock.now() < end:
        return True
    seats = {seat.id for seat in pool(services.reads.all(), services.settings.workshop.group)}
    kept = extensions(services.reads).get(row.id)
    return row.id not in seats or (kept is not None and services.clock.now() < kept)


async def _start(services: Services, ids: Collection[str], ready: Callable[[str], None]) -> Mapping[str, AtelierError]:
    """Starts those that still sleep, as one job."""
    services.require_docker()

    def write() -> Job | None:
        with services.store.transaction():
            woken = wake(services.store, list(ids), services.settings.wake_on_visit)
            return services.jobs.create(WAKE, woken, {}, _CALLER.name) if woken else None

    job = await asyncio.to_thread(write)
    if job is None:
        return {}
    ended = submit(services, _CALLER, job)
    last = 0
    while not ended.done():
        await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
        for event in services.read_jobs.events(job.id, last):
            last = event.sequence
            if (id := _ready(event)) in ids:
                ready(id)
    outcome = await ended
    seats = seats_of(outcome, "workspace_revive")
    if not seats:
        raise_for(outcome)
    return {seat["id"]: AtelierError(Code.IDE_NOT_READY, as_message(seat["error"])) for seat in seats if seat["error"]}


def _ready(event: JobEvent) -> str:
    """The id of the workspace that an event reports as ready; empty for other events."""
    text = untagged(event.data).get("text")
    return str(text.params.get("seat", "")) if isinstance(text, Message) else ""
