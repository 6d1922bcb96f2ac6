"""Takes checkpoints of workspaces in use by the clock, so that little is lost with a machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from atelier.workspaces.checkpoints import SCHEDULED

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
# Half of the executions that people's jobs wait for, too.
_MACHINES_AT_ONCE = 2
_CALLER = Caller("127.0.0.1", "schedule")


class CheckpointSchedule:
    """A task of the API; does nothing on a single machine, or if no interval is set."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._interval = timedelta(minutes=services.settings.checkpoint_minutes)
        self._since = services.clock.now()
        self._taken: dict[str, datetime] = {}

    async def run(self) -> None:
        services = self._services
        if self._interval and services.settings.site.nodes:
            wait = min(_EVERY_SECONDS, self._interval.total_seconds() / 2)
            await run_periodically(log, "taking scheduled checkpoints", wait, self._look, services.watcher)

    async def _look(self) -> None:
        services, moment = self._services, self._services.clock.now()
        rows = {row.id: row for row in services.reads.all() if services.watcher.answers(row.node)}
        running = [id for id, seen in list(services.watcher.seen.items()) if id in rows and seen.status == "running"]
        self._taken = {id: taken for id, taken in self._taken.items() if id in rows}
        late = due(running, self._taken, self._since, moment, self._interval)
        used = await services.activities.heartbeats([rows[id] for id in late])
        by_node: dict[str, list[str]] = {}
        for id in late:
            before = self._taken.get(id)
            # A workspace whose last use is unknown counts as used.
            if before is None or used.get(id, moment) > before:
                by_node.setdefault(rows[id].node, []).append(id)
            else:
                self._taken[id] = moment
        at_once = asyncio.Semaphore(_MACHINES_AT_ONCE)
        await asyncio.gather(*(self._take(ids, moment, at_once) for ids in by_node.values()))

    async def _take(self, ids: Sequence[str], moment: datetime, at_once: asyncio.Semaphore) -> None:
        """Takes those of one machine one after the other: each pauses its workspace, and sends its image to the
        registry. The machines take turns."""
        services = self._services
        for id in ids:
            async with at_once:
                self._taken[id] = moment
                _, end = await start_job(services, _CALLER, "checkpoint", [id], {"checkpoint_id": SCHEDULED})
                await end


def due(
    running: Iterable[str], taken: Mapping[str, datetime], since: datetime, moment: datetime, interval: timedelta
) -> list[str]:
    """Ids of the running workspaces whose last scheduled checkpoint, or else the API's start, is an interval ago; those
    that waited longest come first."""
    late = [id for id in running if moment - taken.get(id, since) >= interval]
    return sorted(late, key=lambda id: taken.get(id, since))
