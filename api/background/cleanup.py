"""Removes expired kept containers, and layers of the image registry that nobody needs, in the background."""

from __future__ import annotations

import asyncio
import logging

from atelier.containers.distribution import has_garbage

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.containers import is_past_kept
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 1800.0
_LOOKS_PER_TIME = 4
_CALLER = Caller("127.0.0.1", "cleanup")
REPAIR = "repair"


async def run(services: Services) -> None:
    """A task of the API that starts a repair for expired containers: a seat that is never reset again would otherwise
    keep its old container."""
    wait = min(_EVERY_SECONDS, max(services.settings.reset_keep_hours * 3600 / _LOOKS_PER_TIME, 1.0))

    async def look() -> None:
        is_past = await asyncio.to_thread(is_past_kept, services.settings, services.watcher.answering)
        if is_past or has_garbage(services.settings.site):
            _, end = await start_job(services, _CALLER, REPAIR, [])
            await end

    await asyncio.sleep(wait)
    await run_periodically(log, "removing containers that were kept long enough", wait, look, services.watcher)
