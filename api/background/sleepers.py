"""Keeps the gateway's map of workspaces that sleep or wake up. Visits to these are asked about; all others go straight
to theirs."""

from __future__ import annotations

import asyncio
import logging

from atelier.database.intent import sleepers
from atelier.gateway.haproxy import Gateway

from ..core.periodic import run_periodically
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 1.0


class Sleepers:
    """Runs as a task for as long as the API does. An entry that is too old does no harm: the API decides."""

    def __init__(self, services: Services) -> None:
        self._store = services.reads
        self._wakes = services.wakes
        self._reasons = services.settings.wake_on_visit
        self._gateway = Gateway(services.settings.site.state_dir, services.locks, "asleep.map")
        # The database's version and the starts under way that were looked at last, and the map that the gateway has;
        # None before the first look.
        self._seen: tuple[tuple[int, int], frozenset[str]] | None = None
        self._written: dict[str, str] | None = None

    async def run(self) -> None:
        await run_periodically(log, "telling the gateway what sleeps", _EVERY_SECONDS, self.look)

    async def look(self) -> None:
        # A workspace that wakes up loses its reason before its container answers. Until its start has ended, visits get
        # the progress.
        waking = self._wakes.ids()
        seen = (self._store.version(), waking)
        if seen == self._seen:
            return
        asleep = dict.fromkeys([*await asyncio.to_thread(sleepers, self._store, self._reasons), *waking], "asleep")
        if asleep != self._written:
            await asyncio.to_thread(self._gateway.sync, lambda: asleep)
            self._written = asleep
        self._seen = seen
