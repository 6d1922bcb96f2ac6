"""Keeps the gateway's map of sleeping workspaces. Visits to these are asked about; all others go straight to theirs."""

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
        self._reasons = services.settings.wake_on_visit
        self._gateway = Gateway(services.settings.site.state_dir, services.locks, "asleep.map")
        # The database's version that was looked at last, and the map that the gateway has; None before the first look.
        self._version: tuple[int, int] | None = None
        self._written: dict[str, str] | None = None

    async def run(self) -> None:
        await run_periodically(log, "telling the gateway what sleeps", _EVERY_SECONDS, self.look)

    async def look(self) -> None:
        version = self._store.version()
        if version == self._version:
            return
        asleep = dict.fromkeys(await asyncio.to_thread(sleepers, self._store, self._reasons), "asleep")
        if asleep != self._written:
            await asyncio.to_thread(self._gateway.sync, lambda: asleep)
            self._written = asleep
        self._version = version
