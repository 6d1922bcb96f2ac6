"""Asks by the clock for what no event tells: the services, the templates' images, and which machines are down."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from atelier.common.models import CONTROLLER
from atelier.containers.template_images import TemplateImages

from ..core.periodic import run_periodically
from ..services.services import Services

log = logging.getLogger(__name__)

_HEALTH_SECONDS = 15.0
# Not more often, because it reads the templates' files.
_IMAGES_SECONDS = 60.0
_SWARM_SECONDS = 2.0


async def run(services: Services) -> None:
    """A task of the API."""
    site, engines, watcher = services.settings.site, services.engines, services.watcher

    def look_at_images() -> None:
        images = TemplateImages(site, engines.of(CONTROLLER), services.locks, lambda *_: None)
        watcher.note_images(images.current())

    def ask_swarm() -> None:
        watcher.note_down(engines.down())

    health = partial(asyncio.to_thread, services.health.look)
    images = partial(asyncio.to_thread, look_at_images)
    swarm = partial(asyncio.to_thread, ask_swarm)
    looks = [
        run_periodically(log, "asking the platform's services", _HEALTH_SECONDS, health),
        run_periodically(log, "looking at the templates' images", _IMAGES_SECONDS, images),
    ]
    if site.nodes:
        looks.append(run_periodically(log, "asking Docker Swarm", _SWARM_SECONDS, swarm, watcher))
    await asyncio.gather(*looks)
