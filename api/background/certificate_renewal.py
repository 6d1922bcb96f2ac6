"""Has the gateway's certificate renewed in good time."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from atelier.gateway.acme import is_due

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0
_CALLER = Caller("127.0.0.1", "certificate")


async def run(services: Services) -> None:
    """A task of the API. After a failure the core says when it is due again."""

    async def look() -> None:
        # The wall clock: the certificate's end is one of its times.
        if await asyncio.to_thread(is_due, services.settings.site.state_dir, datetime.now(UTC)):
            _, end = await start_job(services, _CALLER, "certificate", [])
            await end

    # Wait first, because ./atelier up requests the certificate itself at its end.
    await asyncio.sleep(_EVERY_SECONDS)
    await run_periodically(log, "renewing the certificate", _EVERY_SECONDS, look, services.watcher)
