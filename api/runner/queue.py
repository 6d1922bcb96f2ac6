"""The queue: jobs wait here for one of a few executions, clones in a lane of their own.

A clone of fifty takes half a minute; a person who presses "stop" meanwhile must not wait for it. Jobs for the same
workspace run one after the other, in the order they were asked for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from atelier.errors import AtelierError, Code
from atelier.jobs import Job, Jobs, JobState

from ..settings import Settings
from .adapter import Ended, Execution, Note, execute

log = logging.getLogger(__name__)

# Each execution takes some 100 MiB.
_PERSON_LANE = 4
_CLONE_LANE = 1


@dataclass(frozen=True)
class Operation:
    """What a job runs. ``settle`` brings the registry to what became of it, and returns the outcome of each seat."""

    name: str
    playbook: str
    lane: str
    variables: Callable[[Job], Mapping[str, Any]]
    settle: Callable[[Job, Ended], list[dict[str, Any]]]
    mend: str | None = None  # a playbook that clears up after a run that did not end well


@dataclass
class _Ticket:
    canceled: threading.Event
    ended: asyncio.Future[Ended]

    @classmethod
    def unattended(cls) -> _Ticket:
        """For an execution that nobody waits for or may cancel."""
        return cls(threading.Event(), asyncio.get_running_loop().create_future())


class Queue:
    """Runs jobs. Lives in one event loop; executions have threads of their own."""

    def __init__(self, settings: Settings, jobs: Jobs, operations: Mapping[str, Operation]) -> None:
        self._settings = settings
        self._jobs = jobs
        self._operations = operations
        self._threads = ThreadPoolExecutor(_PERSON_LANE + _CLONE_LANE, thread_name_prefix="execution")
        self._lanes = {"person": asyncio.Semaphore(_PERSON_LANE), "clone": asyncio.Semaphore(_CLONE_LANE)}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tickets: dict[str, _Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    def submit(self, job: Job) -> asyncio.Future[Ended]:
        """Queues a job that was written down; the future is done when the job has ended, however."""
        ticket = _Ticket(threading.Event(), asyncio.get_running_loop().create_future())
        self._tickets[job.id] = ticket
        task = asyncio.create_task(self._run(job, ticket), name=f"job-{job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ticket.ended

    def cancel(self, job_id: str) -> bool:
        """Asks a job to end. False when it is not in the queue any more."""
        ticket = self._tickets.get(job_id)
        if ticket is None:
            return False
        ticket.canceled.set()
        return True

    async def drain(self) -> None:
        """Ends what runs, without calling it canceled: the next start takes it up again."""
        for ticket in self._tickets.values():
            ticket.canceled.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, job: Job, ticket: _Ticket) -> None:
        operation = self._operations[job.operation]
        # The turn is for the workspace that the job changes; clones change only their own new rows.
        turns = [self._turns[id] for id in sorted(job.project_ids)] if operation.lane == "person" else []
        async with AsyncExitStack() as held:
            for turn in turns:
                await held.enter_async_context(turn)
            async with self._lanes[operation.lane]:
                ended = await self._execute(operation.playbook, operation.variables(job), job, ticket)
                if ended.error is not None and operation.mend is not None:
                    await self._execute(operation.mend, {"repair": True}, job, _Ticket.unattended())
            await self._finish(operation, job, ended)
        self._tickets.pop(job.id, None)
        ticket.ended.set_result(ended)

    async def _execute(self, playbook: str, variables: Mapping[str, Any], job: Job, ticket: _Ticket) -> Ended:
        if ticket.canceled.is_set():
            return Ended("canceled", {}, AtelierError(Code.CANCELED, "The job was canceled before it began."))
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._jobs.started, job.id)
        await self._announce()

        def notify(note: Note) -> None:
            self._write_note(job, note)
            asyncio.run_coroutine_threadsafe(self._announce(), loop)

        execution = Execution(
            id=job.id,
            playbook=self._settings.playbooks / f"{playbook}.yml",
            inventory=self._settings.inventory,
            variables={
                **variables,
                "atelier_site": self._settings.raw_site,
                "atelier_ready_timeout": self._settings.ready_timeout,
            },
            deadline=self._settings.ready_timeout * 3 + 600,
        )
        return await loop.run_in_executor(self._threads, execute, execution, notify, ticket.canceled)

    def _write_note(self, job: Job, note: Note) -> None:
        if note.done is None or note.total is None:
            self._jobs.note(job.id, "task", {"text": note.text})
            return
        if len(job.project_ids) > 1:
            self._jobs.progress(job.id, note.done, note.total)
        self._jobs.note(job.id, "progress", {"text": note.text, "done": note.done, "total": note.total})

    async def _finish(self, operation: Operation, job: Job, ended: Ended) -> None:
        def write() -> None:
            seats = operation.settle(job, ended)
            state = JobState(ended.state)
            if state is JobState.SUCCESSFUL:
                self._jobs.progress(job.id, len(job.project_ids) or 1, len(job.project_ids) or 1)
            error = str(ended.error) if ended.error else None
            self._jobs.ended(job.id, state, error, seats)
            self._jobs.note(job.id, "ended", {"state": str(state), "error": error})

        await asyncio.to_thread(write)
        await self._announce()

    async def next_change(self) -> None:
        """Returns when some job was begun, got on, or ended."""
        async with self._changed:
            await self._changed.wait()

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()
