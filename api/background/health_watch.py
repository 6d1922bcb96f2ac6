"""Asks by the clock whether the platform's services answer."""

from __future__ import annotations

import asyncio
import logging

from ..core.periodic import run_periodically
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 15.0


async def run(services: Services) -> None:
    """A task of the API."""
    await run_periodically(
        log, "asking the platform's services", _EVERY_SECONDS, lambda: asyncio.to_thread(services.health.look)
    )
