"""Jobs that begin by themselves when they are due: renewing the certificate, removing what was kept long enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from atelier.containers.distribution import has_garbage
from atelier.gateway import acme

from ..auth.middleware import Caller
from ..core.periodic import run_periodically
from ..services.containers import is_past_kept
from ..services.jobs import start_job
from ..services.services import Services

log = logging.getLogger(__name__)

REPAIR = "repair"
_CERTIFICATE_SECONDS = 60.0
_REPAIR_SECONDS = 1800.0
_LOOKS_PER_TIME = 4


async def renew_certificate(services: Services) -> None:
    """A task of the API. After a failure the core says when it is due again."""

    def is_due() -> bool:
        # The wall clock: the certificate's end is one of its times.
        return acme.is_due(services.settings.site.state_dir, datetime.now(UTC))

    # Its wait at the beginning leaves the first request to ./atelier up, which makes it at its end.
    await _run_when_due(services, "certificate", "certificate", _CERTIFICATE_SECONDS, is_due)


async def clean_up(services: Services) -> None:
    """A task of the API that starts a repair for expired kept containers, since a seat that is never reset again would
    otherwise keep its old one, and for layers of the image registry that nobody needs."""
    settings = services.settings

    def is_due() -> bool:
        return is_past_kept(settings, services.watcher.answering) or has_garbage(settings.site)

    wait = min(_REPAIR_SECONDS, max(settings.reset_keep_hours * 3600 / _LOOKS_PER_TIME, 1.0))
    await _run_when_due(services, REPAIR, "cleanup", wait, is_due)


async def _run_when_due(
    services: Services, operation: str, caller: str, seconds: float, is_due: Callable[[], bool]
) -> None:
    """Looks every ``seconds``, first after as many, and waits for each job's end."""

    async def look() -> None:
        if await asyncio.to_thread(is_due):
            _, end = await start_job(services, Caller("127.0.0.1", caller), operation, [])
            await end

    await asyncio.sleep(seconds)
    await run_periodically(log, f"starting {operation} when it is due", seconds, look, services.watcher)
