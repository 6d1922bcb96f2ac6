"""Restarts seats that should run but do not, or that a killed run left paused. Only the API knows which should.

Docker itself restarts the platform's containers (restart policy ``always``), and seats whose processes end. After a
crash of dockerd without ``live-restore`` it leaves seats stopped; these are started here. The loop compares the desired
with the present state, so the cause and number of crashes do not matter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

from atelier.common.errors import AtelierError
from atelier.common.models import CONTROLLER, Status, Workspace
from atelier.containers.engines import answers
from atelier.containers.snapshots import interrupted
from atelier.database.intent import to_stay_stopped, wanted_up
from atelier.workspaces.side_by_side import DOWN

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

REVIVE = "revive"
_CALLER = Caller("127.0.0.1", "revival")
_EVERY_SECONDS = 0.5
# Seconds after which Docker must still answer for a stop to count as intended: a dockerd that goes down in good order
# stops its containers, too, but takes no more calls by then.
_GRACE_SECONDS = 1.0
_MOST_TRIES = 5
_FIRST_WAIT = 2.0


@dataclass
class _Tries:
    """The number of starts since a workspace last ran, and the earliest time of the next one."""

    count: int = 0
    not_before: float = 0.0


class Revival:
    """Runs as a task for as long as the API does."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._locks = services.locks
        self._tries: dict[str, _Tries] = {}
        self._outages = services.watcher.outages
        # The versions of containers and rows, the stuck and the given up, with nothing to do; while they stay, the loop
        # costs nothing.
        self._nothing_at: tuple[object, ...] = ()

    async def run(self) -> None:
        await run_periodically(log, "starting what should run", _EVERY_SECONDS, self._look, self._services.watcher)

    async def _look(self) -> None:
        watcher = self._services.watcher
        if watcher.outages != self._outages:
            # A start that failed before an outage may succeed after it.
            self._outages = watcher.outages
            self._tries.clear()
        seen = dict(watcher.seen)  # a copy: the watcher's thread goes on
        stuck = await asyncio.to_thread(interrupted, self._services.settings.site)
        for id in list(self._tries):
            if id in seen and seen[id].status == "running" and id not in stuck:
                del self._tries[id]
        unwritten: AtelierError | None = None
        for id, at in list(watcher.asked_to_end.items()):
            if time.monotonic() - at >= _GRACE_SECONDS:
                try:
                    await asyncio.to_thread(self._decide, id)
                except AtelierError as error:  # the database's disk may be full; the next look tries again
                    unwritten = error
        if stuck or any(container.status in DOWN for container in seen.values()):
            down = await asyncio.to_thread(self._down, stuck)
            if down:
                await start_job(self._services, _CALLER, REVIVE, down)
                log.warning("starting %d workspaces that should run and do not", len(down))
                for id in down:
                    tries = self._tries.setdefault(id, _Tries())
                    tries.not_before = time.monotonic() + _FIRST_WAIT * 2**tries.count
                    tries.count += 1
        if unwritten:
            raise unwritten

    def _decide(self, id: str) -> None:
        """Treats a manual ``docker stop`` as intended if the container stayed down and Docker runs."""
        watcher = self._services.watcher
        outages = watcher.outages
        container = watcher.seen.get(id)
        if container is not None and container.status in DOWN:
            # The holder of the workspace's lock decides; the watcher reports a Docker that goes down.
            if not self._locks.workspace_free(id) or not self._docker_answers(id):
                return
            # A module's stop, which a busy machine reports late, keeps its reason.
            if watcher.outages == outages and id in wanted_up(self._services.store):
                to_stay_stopped(self._services.store, id)
        watcher.asked_to_end.pop(id, None)

    def _docker_answers(self, id: str) -> bool:
        row = self._services.store.find(id=id)
        return answers(self._services.settings.site, row.node if row else CONTROLLER)

    def _down(self, stuck: Collection[str]) -> list[str]:
        """Ids of the workspaces to start now: wanted, down or among the ``stuck``, and not in use by another run."""
        watcher, store = self._services.watcher, self._services.store
        given_up = {id for id, tries in self._tries.items() if tries.count >= _MOST_TRIES}
        version = (watcher.version, store.version(), stuck, given_up)
        if version == self._nothing_at:
            return []
        wanted = wanted_up(store) - given_up
        candidates = [row.id for row in store.all() if row.id in wanted and self._is_down(row, stuck)]
        if not candidates:
            self._nothing_at = version
            return []
        with_open_jobs = self._services.jobs.workspaces_with_open_jobs()
        moment = time.monotonic()
        return [
            id
            for id in candidates
            if id not in with_open_jobs
            and id not in watcher.asked_to_end
            and self._may_try(id, moment)
            and self._locks.workspace_free(id)
        ]

    def _is_down(self, row: Workspace, stuck: Collection[str]) -> bool:
        container = self._services.watcher.seen.get(row.id)
        is_made = row.status is not Status.CREATING
        return is_made and container is not None and (container.status in DOWN or row.id in stuck)

    def _may_try(self, id: str, moment: float) -> bool:
        tries = self._tries.get(id)
        return tries is None or moment >= tries.not_before
