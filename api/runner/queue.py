"""The job queue: a few executions at a time, with separate lanes for creates, for starts that visits cause, for bulk
operations such as clones, and for backups.

A clone of fifty takes half a minute, a create that builds a template's image some minutes, a backup perhaps hours; a
"stop" must not wait for them. Jobs for the same workspace run in the order of their requests.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.database.job_store import Job, Jobs, JobState
from atelier.engine.docker_errors import is_engine_away

from ..core.periodic import Docker
from ..settings import Settings
from .adapter import Ended, Execution, Note, execute
from .operations import Operation

log = logging.getLogger(__name__)

# Maximum concurrent executions per lane. Each takes some 100 MiB.
_LANES = {"interactive": 4, "create": 4, "wake": 4, "bulk": 1, "backup": 1}
# Maximum attempts after a Docker outage, and the polling interval for Docker to come back.
_ATTEMPTS = 5
_LOOK_SECONDS = 0.5
# Seconds between two tries to write a job's end.
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 15.0


@dataclass
class _Ticket:
    """A job in progress. ``first_result`` is for callers that cannot wait during a Docker outage. ``canceled`` ends its
    run; ``dropped`` also ends the cleanup, when the API shuts down."""

    job: Job
    operation: Operation
    ended: asyncio.Future[Ended]
    first_result: asyncio.Future[Ended]
    secrets: Mapping[str, str] = field(repr=False)
    outcome: Ended | None
    task: asyncio.Task[None] = field(init=False)
    begun: bool = False
    canceled: threading.Event = field(default_factory=threading.Event)
    dropped: threading.Event = field(default_factory=threading.Event)


class Queue:
    """Runs jobs. Belongs to one event loop; each execution has a thread."""

    def __init__(self, settings: Settings, jobs: Jobs, operations: Mapping[str, Operation], docker: Docker) -> None:
        self._settings = settings
        self._docker = docker
        self._jobs = jobs
        self._operations = operations
        # Building a template's image, including the wait for another job that builds the same one.
        self._build_seconds = 2 * settings.site.builds.seconds if settings.site.builds else 0
        self._threads = ThreadPoolExecutor(sum(_LANES.values()), thread_name_prefix="execution")
        self._lanes = {lane: asyncio.Semaphore(size) for lane, size in _LANES.items()}
        # Locks are kept only while held or awaited.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tickets: dict[str, _Ticket] = {}
        self._changed = asyncio.Condition()
        self._draining = False

    def submit(
        self,
        job: Job,
        *,
        after: asyncio.Event | None = None,
        canceled: bool = False,
        secrets: Mapping[str, str] | None = None,
        outcome: Ended | None = None,
    ) -> asyncio.Future[Ended]:
        """Queues a stored job; it keeps its turn, but starts only ``after`` that. A job that was ``canceled`` before is
        only cleaned up. ``secrets`` are variables kept in memory only, for the length of the job: after a crash it is
        resumed without them. With an ``outcome`` nothing is run: that is the job's result, which must still be stored.
        The future is done when the job has ended, and cancelled if the API shuts down first."""
        loop = asyncio.get_running_loop()
        ended, first_result = loop.create_future(), loop.create_future()
        ticket = _Ticket(job, self._operations[job.operation], ended, first_result, secrets or {}, outcome)
        if canceled:
            ticket.canceled.set()
        self._tickets[job.id] = ticket
        ticket.task = asyncio.create_task(self._run(ticket, after), name=f"job-{job.id}")
        return ticket.ended

    async def first_result(self, job_id: str) -> Ended:
        """The end of a job that was just submitted, or the news that a Docker outage interrupted it."""
        return await asyncio.shield(self._tickets[job_id].first_result)

    def cancel(self, job_id: str) -> None:
        """Asks a job to end. Raises WORKSPACE_BUSY if it is finishing, or in a step that must not be interrupted."""
        ticket = self._tickets.get(job_id)
        if ticket is None:
            raise AtelierError(Code.WORKSPACE_BUSY, Message("api.job_ended"), field="jobId")
        if ticket.begun and not ticket.operation.cancelable:
            begun = Message("api.job_begun", operation=ticket.job.operation)
            raise AtelierError(Code.WORKSPACE_BUSY, begun, field="jobId")
        ticket.canceled.set()
        if not ticket.begun:
            ticket.task.cancel()

    async def drain(self) -> None:
        """Stops running jobs without canceling them: the next start resumes them."""
        self._draining = True
        tickets = list(self._tickets.values())
        for ticket in tickets:
            ticket.canceled.set()
            ticket.dropped.set()
            ticket.task.cancel()
        await asyncio.gather(*(ticket.task for ticket in tickets), return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, ticket: _Ticket, after: asyncio.Event | None) -> None:
        ended: Ended | None = None
        try:
            ended = await self._in_turn(ticket, after)
        except asyncio.CancelledError:
            if self._draining or ticket.begun:
                raise
            ended = _canceled("canceled_early")
            await self._finish(ticket, ended)
        finally:
            self._tickets.pop(ticket.job.id, None)
            for future in (ticket.ended, ticket.first_result):
                if ended is None:
                    future.cancel()
                elif not future.done():
                    future.set_result(ended)

    async def _in_turn(self, ticket: _Ticket, after: asyncio.Event | None) -> Ended:
        lane = ticket.operation.lane
        # The turn is for the workspace that the job changes; clones change only their own new rows.
        ids = sorted(ticket.job.project_ids) if lane != "bulk" else []
        turns = [self._turns.setdefault(id, asyncio.Lock()) for id in ids]
        async with AsyncExitStack() as held:
            for turn in turns:
                await held.enter_async_context(turn)
            if after is not None:
                await after.wait()
            async with self._lanes[lane]:
                ticket.begun = True
                ended = ticket.outcome or await self._at_work(ticket)
            await self._finish(ticket, ended)
        return ended

    async def _at_work(self, ticket: _Ticket) -> Ended:
        job, operation = ticket.job, ticket.operation
        try:
            await asyncio.to_thread(self._jobs.started, job.id)
            await self._announce()
            if ticket.canceled.is_set():
                ended = _canceled("canceled")
            else:
                variables = {**operation.variables(self._jobs, job), **ticket.secrets}
                ended = await self._run_with_retry(operation.playbook, variables, ticket, ticket.canceled)
        except Exception as error:  # the boundary: callers that wait for the job must get its end
            log.exception("job %s could not be run", job.id)
            ended = Ended("error", {}, AtelierError(Code.RUN_FAILED, Message("job_not_run", why=error)))
        if ended.error is not None:
            try:
                await self._clear_up(ticket)
            except Exception:  # the boundary: the end is written even if this fails
                log.exception("what job %s left could not be cleared up", job.id)
        return ended

    async def _clear_up(self, ticket: _Ticket) -> None:
        """Removes incomplete objects of a failed run."""
        job = ticket.job
        unfinished = await asyncio.to_thread(ticket.operation.unfinished, self._jobs, job)
        if unfinished or ticket.operation.needs_cleanup:
            variables = {"repair": True, "abandoned_ids": list(unfinished), "after_job": job.id}
            ended = await self._run_with_retry("reconcile", variables, ticket, ticket.dropped)
            if ended.error is not None:
                log.error("what job %s left could not be cleared up: %s", job.id, ended.error)

    async def _run_with_retry(
        self, playbook: str, variables: Mapping[str, Any], ticket: _Ticket, canceled: threading.Event
    ) -> Ended:
        """Runs the playbook and retries it after a Docker outage. The state after an outage is unknown; only a re-run
        can establish it."""
        for attempt in range(1, _ATTEMPTS + 1):
            outages = self._docker.outages
            ended = await self._execute(playbook, variables, ticket, canceled)
            if ended.error is None or attempt == _ATTEMPTS:
                break
            if not is_engine_away(ended.error) and self._docker.outages == outages:
                break
            if not ticket.first_result.done():
                id = ticket.job.id
                error = AtelierError(Code.SERVICE_UNAVAILABLE, Message("docker_went_away", job=id), job=id)
                ticket.first_result.set_result(Ended("error", {}, error))
            await asyncio.to_thread(self._note, ticket.job, Note(Message("step.awaiting_docker")))
            await self._announce()
            await asyncio.sleep(_LOOK_SECONDS)
            while not self._docker.available and not canceled.is_set():
                await asyncio.sleep(_LOOK_SECONDS)
            if canceled.is_set():
                return _canceled("canceled")
        return ended

    async def _execute(
        self, playbook: str, variables: Mapping[str, Any], ticket: _Ticket, canceled: threading.Event
    ) -> Ended:
        loop, job, operation = asyncio.get_running_loop(), ticket.job, ticket.operation
        more = operation.seconds + operation.seconds_each * len(job.project_ids)

        def notify(note: Note) -> None:
            self._note(job, note)
            with suppress(RuntimeError):  # the loop is closed: the API goes down
                asyncio.run_coroutine_threadsafe(self._announce(), loop)

        execution = Execution(
            id=job.id,
            playbook=self._settings.playbooks / f"{playbook}.yml",
            inventory=self._settings.inventory,
            variables={
                **variables,
                "atelier_site": self._settings.raw_site,
                "atelier_ready_timeout": self._settings.ready_timeout,
                "atelier_reset_keep_hours": self._settings.reset_keep_hours,
            },
            deadline=self._settings.ready_timeout * 3 + 600 + self._build_seconds + more,
        )
        return await loop.run_in_executor(self._threads, execute, execution, notify, canceled)

    def _note(self, job: Job, note: Note) -> None:
        # A failure to store an event must not end the run.
        try:
            if note.done is None or note.total is None:
                self._jobs.add_event(job.id, "task", {"text": note.text})
                return
            if len(job.project_ids) > 1:
                self._jobs.progress(job.id, note.done, note.total)
            self._jobs.add_event(job.id, "progress", {"text": note.text, "done": note.done, "total": note.total})
        except AtelierError:
            log.exception("a note of job %s is lost", job.id)

    async def _finish(self, ticket: _Ticket, ended: Ended) -> None:
        job = ticket.job

        def write() -> None:
            seats = ticket.operation.finalize(self._jobs, job, ended)
            state = JobState(ended.state)
            if state is JobState.SUCCESSFUL:
                count = max(len(job.project_ids), 1)
                self._jobs.progress(job.id, count, count)
            self._jobs.finish(job.id, state, _reason(ended, seats), seats)

        await self._until_written(job, write)
        await self._announce()

    async def _until_written(self, job: Job, write: Callable[[], None]) -> None:
        """Writes a job's end; retries while the database refuses, on a full disk or locked for long. The job's
        workspaces stay reserved until then. The end is lost only if the API goes down before; see ``recovery``."""
        wait = _FIRST_RETRY
        while True:
            try:
                await asyncio.to_thread(write)
                return
            except Exception as error:  # the boundary: a job without an end would never release its workspaces
                if isinstance(error, (sqlite3.Error, OSError)) or getattr(error, "code", None) is Code.REGISTRY_ERROR:
                    log.error("the end of job %s could not be written, and is tried again: %s", job.id, error)
                else:
                    log.exception("the outcome of job %s could not be told", job.id)
                    why = Message("outcome_lost", why=error)
                    write = partial(self._jobs.finish, job.id, JobState.ERROR, why)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_RETRY)

    async def next_change(self) -> None:
        """Returns when a job started, progressed or ended."""
        async with self._changed:
            await self._changed.wait()

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _reason(ended: Ended, seats: Sequence[Mapping[str, Any]]) -> str | None:
    """The reason for a job's failure. If seats failed, their number is more useful than the playbook's message."""
    error = ended.error.sentence if ended.error else None
    failed = sum(bool(seat["error"]) for seat in seats)
    if error is None or error.id != "task_said" or not failed:
        return error
    return Message("seats_failed", failed=failed, count=len(seats))


def _canceled(id: str) -> Ended:
    return Ended("canceled", {}, AtelierError(Code.CANCELED, Message(id)))
