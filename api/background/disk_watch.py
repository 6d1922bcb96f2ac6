"""Monitors the machines' disks, warns about seats close to their limit, and stops those that reach it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from atelier.common.errors import AtelierError
from atelier.common.models import StopReason, Workspace
from atelier.engine.container_limits import CPU_SHARES
from atelier.engine.machine import Disk
from atelier.engine.models import Container
from atelier.workspaces.disk_limits import (
    NEED_BYTES,
    Action,
    Measured,
    Notice,
    Reason,
    action,
    fillers,
    forget_notice,
    note,
    notices,
)

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..monitoring.disk_gauge import Figures
from ..monitoring.seat_threads import SeatThreads
from ..services.jobs import start_stop
from ..services.services import Services

log = logging.getLogger(__name__)

# Interval for looking at the free space, which is cheap; seats are measured when it falls, and now and then.
_EVERY_SECONDS = 1.0
_SHORTEST_WAIT, _LONGEST_WAIT = 10.0, 300.0
_WAIT_IN_NEED = 2.0
# A workspace that fills the disk waits for the database no longer than this.
_NOTE_SECONDS = 1.0
# Measuring may take a twentieth of the time, of all machines together.
_WAIT_PER_SECOND = 20
# Machines that are measured side by side.
_AT_ONCE = 4
_LIMIT_SHARE = 20
# A notice is renewed if its figures changed by this share of the limit.
_NEWS_SHARE = 0.02
_CALLER = Caller("127.0.0.1", "disk")
# Seats with their containers, by workspace id.
Running = Mapping[str, tuple[Workspace, Container]]


async def run(services: Services) -> None:
    """A task of the API."""
    names = services.settings.site.node_names
    threads = SeatThreads(min(len(names), _AT_ONCE), "disk")
    try:
        await asyncio.gather(*(DiskWatch(services, node, threads).run() for node in names))
    finally:
        threads.close()


class DiskWatch:
    """Watches one machine. ``threads`` are for measuring, which waits for Docker."""

    def __init__(self, services: Services, node: str, threads: SeatThreads) -> None:
        self._services = services
        self._node = node
        self._threads = threads
        self._wait_per_second = _WAIT_PER_SECOND * len(services.settings.site.node_names)
        self._gauge = services.disk
        self._limit = services.settings.site.seat_disk
        self._reserve = services.settings.disk_reserve
        self._drop = max(4 * NEED_BYTES, self._limit // _LIMIT_SHARE)
        # The time at which seats must be measured, and the time before which they must not be.
        self._next = 0.0
        self._soonest = 0.0
        self._free = 0
        # The figures from when the disk last had enough space.
        self._calm: Mapping[str, Figures] = {}
        self._calm_free = 0
        self._in_need = False
        self._stopping: set[str] = set()
        # Notices that could not be stored yet: the database may be on the full disk.
        self._untold: dict[str, tuple[Reason, int]] = {}

    async def run(self) -> None:
        task = f"measuring the seats' disk on {self._node}"
        await run_periodically(log, task, _EVERY_SECONDS, self.look, self._services.watcher)

    async def look(self) -> None:
        """One pass: measures the seats if due, and acts on the result. Raises REGISTRY_ERROR or DISK_FULL if a notice
        cannot be stored; the next pass retries."""
        try:
            await self._look()
        finally:
            for id in list(self._untold):
                await self._note(id)

    async def _look(self) -> None:
        if not self._services.watcher.answers(self._node):
            return
        # Assume enough space until a machine's disk was measured.
        now = self._services.sampler.disk(self._node) or Disk(self._free, self._free)
        in_need = now.is_short(self._reserve)
        self._free = max(self._free, now.free)
        falls = self._free - now.free >= self._drop
        urgent = (falls or (in_need and not self._in_need)) and time.monotonic() >= self._soonest
        if time.monotonic() < self._next and not urgent:
            return
        self._next = time.monotonic() + _SHORTEST_WAIT  # where this one fails
        running = await self._running()
        begun = time.monotonic()
        before = self._gauge.sizes
        containers = {id: container.id for id, (_, container) in running.items()}
        measure = partial(self._gauge.measure, self._node, containers, with_writes=in_need)
        found = await self._threads.ask(("measure", self._node), measure)
        took = time.monotonic() - begun
        self._soonest = time.monotonic() + took
        calm = _SHORTEST_WAIT + (took * self._wait_per_second)
        self._next = time.monotonic() + (max(_WAIT_IN_NEED, took) if in_need else min(calm, _LONGEST_WAIT))
        self._free = now.free
        if not in_need or not self._calm:
            self._calm, self._calm_free = found, now.free
        seats = self._measured(running, found, before)
        await self._apply_limits(running, seats)
        if in_need:
            await self._free_the_disk(running, seats, found, now)
        self._in_need = in_need

    async def _running(self) -> Running:
        """The running seats. Containers of an earlier version get the shares of new ones."""
        services = self._services
        seen = services.watcher.seen_at(self._node)
        old = [found for found in seen.values() if found.cpu_shares != CPU_SHARES]
        if old:
            await asyncio.to_thread(self._gauge.renew_shares, self._node, old)
        return {
            row.id: (row, seen[row.id])
            for row in services.reads.all(self._node)
            if row.id in seen and seen[row.id].status == "running" and row.id not in self._stopping
        }

    def _measured(
        self, running: Running, found: Mapping[str, Figures], before: Mapping[str, int]
    ) -> dict[str, Measured]:
        told = notices(self._services.reads)
        seats = {}
        for id, figures in found.items():
            calm = self._calm.get(id, Figures(figures.used, 0.0, 0, figures.written))
            seats[id] = Measured(
                used=figures.used,
                started_at=datetime.fromisoformat(running[id][1].started_at),
                notice=told.get(id),
                grown=figures.used - before.get(id, figures.used),
                grown_in_need=figures.used - calm.used,
                hidden=figures.pending + (max(figures.written - calm.written, 0) if calm.written else 0),
                walk_seconds=figures.walk_seconds,
            )
        return seats

    async def _apply_limits(self, running: Running, seats: Mapping[str, Measured]) -> None:
        moment = datetime.now(UTC)
        for id, seat in seats.items():
            match action(seat, self._limit, moment):
                case Action.CLEAR if seat.notice:
                    await asyncio.to_thread(forget_notice, self._services.store, id)
                case Action.WARN if _is_news(seat.notice, seat.used, self._limit):
                    self._untold[id] = Reason.WARNED, seat.used
                case Action.STOP | Action.KILL as asked:
                    await self._end(*running[id], Reason.LIMIT, seat.used, at_once=asked is Action.KILL)
                    await self._ask(running[id][0])

    async def _free_the_disk(
        self, running: Running, seats: Mapping[str, Measured], found: Mapping[str, Figures], now: Disk
    ) -> None:
        left = {id: seat for id, seat in seats.items() if id not in self._stopping}
        chosen = fillers(left, self._calm_free - now.free, inodes_short=now.inodes_short)
        # Mark all of them first, because requesting the jobs may wait for the database.
        for id in chosen:
            await self._end(*running[id], Reason.DISK, seats[id].used, at_once=True)
        for id in chosen:
            await self._ask(running[id][0])
        if chosen:
            self._calm, self._calm_free = found, now.free
        elif not self._in_need:
            free = now.free // 1024**2
            log.warning("only %d MiB are free on Docker's disk of %s, and no seat fills it fast", free, self._node)

    async def _end(self, row: Workspace, container: Container, reason: Reason, used: int, *, at_once: bool) -> None:
        """Notes the reason, and ends the processes if they must not go on until the stop."""
        self._stopping.add(row.id)
        self._untold[row.id] = reason, used
        log.warning("stopping %s (%s): its files take %d MiB (%s)", row.id, row.name, used // 1024**2, reason)
        # Store the reason first, for people who see the workspace stopped. A full or slow database must not prevent the
        # stop: the reason is then stored after the next measurement.
        with suppress(AtelierError, TimeoutError):
            await asyncio.wait_for(self._note(row.id), _NOTE_SECONDS)
        if at_once:
            try:
                await asyncio.to_thread(self._gauge.kill, self._node, container.id)
            except Exception:  # the boundary: the next one that fills the disk must not wait
                log.exception("%s could not be killed; it is stopped", row.id)

    async def _ask(self, row: Workspace) -> None:
        """Asks for the job that stops the workspace."""
        try:
            await start_stop(self._services, _CALLER, row.id, StopReason.DISK, self._stopping)
        except Exception:  # the boundary: the database's disk may be full; the next one that fills it must not wait
            log.exception("the stop of %s could not be asked for; what goes on then is stopped later", row.id)

    async def _note(self, id: str) -> None:
        reason, used = self._untold[id]
        await asyncio.to_thread(note, self._services.store, id, reason, used, self._limit)
        del self._untold[id]


def _is_news(notice: Notice | None, used: int, limit: int) -> bool:
    return notice is None or notice.is_stop or abs(notice.used - used) >= limit * _NEWS_SHARE
