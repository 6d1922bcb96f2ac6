"""Stops running workspaces that are idle or whose workshop is over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from atelier.common.models import Workspace
from atelier.database.claims import pool
from atelier.workshop.idle_policy import UsageSample, extensions, is_due

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.jobs import start_stop
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
_LOOKS_PER_TIMEOUT = 4
# Maximum time that a heartbeat may be in the future.
_AHEAD = timedelta(minutes=1)
_CALLER = Caller("127.0.0.1", "idle-stop")


def _to(row: Workspace, connected: Counter[str] | None) -> int:
    """Open connections to the workspace; 1 if its machine's connections are unknown, because there may be some."""
    return 1 if connected is None else connected[row.address]


class IdleStop:
    """A task of the API; does nothing if neither a timeout nor an end is set."""

    def __init__(self, services: Services) -> None:
        self._services = services
        minutes = services.settings.workspace_timeout
        self._idle = timedelta(minutes=minutes) if minutes else None
        self._end = services.settings.workshop.end
        self._clock = services.clock
        self._jumps = self._clock.jumps
        self._since = self._clock.now()
        self._used: dict[str, datetime] = {}
        self._beats: dict[str, datetime] = {}
        self._stopping: set[str] = set()

    async def run(self) -> None:
        if self._idle is None and self._end is None:
            return
        wait = min(_EVERY_SECONDS, self._idle.total_seconds() / _LOOKS_PER_TIMEOUT) if self._idle else _EVERY_SECONDS
        await run_periodically(log, "stopping unused workspaces", wait, self._look, self._services.watcher)

    async def _look(self) -> None:
        services = self._services
        rows = {row.id: row for row in services.reads.all()}
        running = {
            id: container.started_at
            for id, container in list(services.watcher.seen.items())
            if id in rows and container.status == "running" and id not in self._stopping
        }
        connected = {node: services.sampler.connections(node) for node in {rows[id].node for id in running}}
        beats = await services.activities.heartbeats([rows[id] for id in running]) if self._idle else {}
        kept = extensions(services.reads)
        seats = {row.id for row in pool(list(rows.values()), services.settings.workshop.group)}
        moment = self._now()
        self._used = {id: used for id, used in self._used.items() if id in running}
        self._note_beats(beats, moment)
        for id, started_at in running.items():
            usage = services.sampler.usage.get(id)
            try:
                signs = UsageSample(
                    started_at=datetime.fromisoformat(started_at),
                    last_use=self._used.get(id),
                    connections=_to(rows[id], connected[rows[id].node]),
                    cpu_cores=usage.cpu if usage else 0.0,
                    extended_until=kept.get(id),
                )
                if signs.in_use:
                    self._used[id] = moment
                end = self._end if id in seats else None
                reason = is_due(signs, moment, idle=self._idle, end=end, watched_since=self._since)
                # On a machine that does not answer it would fail, and be asked for again at each look.
                if reason and services.watcher.answers(rows[id].node):
                    log.info("stopping %s (%s): %s", id, rows[id].name, reason)
                    await start_stop(services, _CALLER, id, reason, self._stopping)
            except Exception:  # the boundary: one seat is no reason to leave the others running
                log.exception("%s was not looked at for expiry", id)

    def _note_beats(self, beats: Mapping[str, datetime], moment: datetime) -> None:
        """Counts heartbeats as use. While the clock is in doubt, a heartbeat cannot be compared with the present, but a
        changed one is new."""
        for id, beat in beats.items():
            is_news = self._beats.get(id) not in (None, beat)
            used = moment if is_news and self._clock.is_doubted else beat
            # Heartbeats are untrusted: one in the future would keep the seat from ever being idle.
            if used <= moment + _AHEAD:
                self._used[id] = max(self._used.get(id, used), used)
        self._beats = dict(beats)

    def _now(self) -> datetime:
        """The present; nothing was seen of any workspace before the clock's last jump."""
        moment = self._clock.now()
        if self._clock.jumps != self._jumps:
            self._jumps = self._clock.jumps
            self._since = moment
            self._used.clear()
        return moment
