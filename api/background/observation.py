"""Asks by the clock for what no event tells: the services, the templates' images, which machines are down, and whether
nodes have their whitelists."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from atelier.common.models import CONTROLLER
from atelier.containers.node_lists import NodeLists, has_node_lists
from atelier.containers.template_images import TemplateImages

from ..core.periodic import run_periodically
from ..monitoring.seat_threads import SeatThreads
from ..services.services import Services

log = logging.getLogger(__name__)

_HEALTH_SECONDS = 15.0
# Not more often, because it reads the templates' files.
_IMAGES_SECONDS = 60.0
_SWARM_SECONDS = 2.0
# A sixth of the time after which a node's Squid stops (atelier_squid_lease_seconds; see containers/node_lists.py).
_LISTS_SECONDS = 15.0
_AT_ONCE = 16


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


async def confirm_lists(services: Services) -> None:
    """A task of the API that confirms the whitelist of each node independently: one that was away gets the current one
    when it answers, and its Squid runs only while this goes on. It ends at once where there are no nodes."""
    site = services.settings.site
    if not has_node_lists(site):
        return
    lists = NodeLists(site, services.store, services.locks, services.settings.ready_timeout)
    threads = SeatThreads(min(len(site.nodes), _AT_ONCE), "lists")

    def bring(node: str) -> None:
        lists.bring(node, services.impatient_engines.of(node))

    async def confirm(node: str) -> None:
        task = f"bringing the whitelists to {node}"
        look = partial(threads.ask, node, bring, node)
        await run_periodically(log, task, _LISTS_SECONDS, look, services.watcher)

    try:
        await asyncio.gather(*(confirm(node.name) for node in site.nodes))
    finally:
        threads.close()
