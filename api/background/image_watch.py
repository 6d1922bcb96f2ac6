"""Looks which image each template has now, in the background, for the list of workspaces with an old one."""

from __future__ import annotations

import asyncio
import logging

from atelier.common.models import CONTROLLER
from atelier.containers.template_images import TemplateImages

from ..core.periodic import run_periodically
from ..services.services import Services

log = logging.getLogger(__name__)

# It reads the templates' files.
_EVERY_SECONDS = 60.0


async def run(services: Services) -> None:
    """A task of the API."""

    def look() -> None:
        engine = services.engines.of(CONTROLLER)
        images = TemplateImages(services.settings.site, engine, services.locks, lambda *_: None)
        services.watcher.note_images(images.current())

    await run_periodically(log, "looking at the templates' images", _EVERY_SECONDS, lambda: asyncio.to_thread(look))
