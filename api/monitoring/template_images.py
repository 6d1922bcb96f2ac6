"""Tracks the inputs of the templates' images, so that the list of workspaces can mark outdated ones."""

from __future__ import annotations

import asyncio
import logging

from atelier.common.locks import Locks
from atelier.common.models import CONTROLLER, Site
from atelier.containers.engines import Engines
from atelier.containers.template_images import TemplateImages

from ..core.periodic import run_periodically
from .docker_events import Watcher

log = logging.getLogger(__name__)

# Not more often, because it reads the templates' files.
_EVERY_SECONDS = 60.0


async def follow_images(site: Site, engines: Engines, locks: Locks, watcher: Watcher) -> None:
    """Updates the watcher periodically; runs as a task of the API."""

    def look() -> None:
        images = TemplateImages(site, engines.of(CONTROLLER), locks, lambda *_: None)
        watcher.note_images(images.current())

    await run_periodically(log, "looking at the templates' images", _EVERY_SECONDS, lambda: asyncio.to_thread(look))
