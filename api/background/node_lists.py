"""Confirms the whitelists of the nodes independently: a node that was away gets the current ones when it answers.

A node's Squid runs only while this goes on (``containers/node_lists.py``).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from atelier.containers.node_lists import NodeLists, has_node_lists

from ..core.periodic import run_periodically
from ..monitoring.seat_threads import SeatThreads
from ..services.services import Services

log = logging.getLogger(__name__)

# A sixth of the time after which a node's Squid stops (atelier_squid_lease_seconds).
_EVERY_SECONDS = 15.0
_AT_ONCE = 16


async def run(services: Services) -> None:
    """A task of the API; it ends at once where there are no nodes."""
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
        await run_periodically(log, task, _EVERY_SECONDS, look, services.watcher)

    try:
        await asyncio.gather(*(confirm(node.name) for node in site.nodes))
    finally:
        threads.close()
