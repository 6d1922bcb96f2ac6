"""The machines of the installation: their state in Docker Swarm, and the promised and used resources of each."""

from __future__ import annotations

import psutil
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER, Site
from atelier.containers.engines import Engines
from atelier.database.workspace_store import WorkspaceStore

from ..schemas.nodes import NodeView
from .docker_events import Watcher
from .stats import Sampler


def node_views(
    site: Site, engines: Engines, store: WorkspaceStore, watcher: Watcher, sampler: Sampler
) -> list[NodeView]:
    """All machines, the controller first. Raises SERVICE_UNAVAILABLE when the controller's engine does not answer."""
    swarm = engines.swarm_nodes()
    promised = store.promised()
    seats = store.seats()
    found: list[NodeView] = []
    for name in site.node_names:
        known = swarm.get(name)
        node, disk = site.node(name), sampler.disk(name)
        found.append(
            {
                "name": name,
                "state": "ready" if watcher.answers(name) else known.state if known else "unknown",
                "availability": "paused" if known and known.availability != "active" else "active",
                "takesWorkspaces": name != CONTROLLER or site.controller_seats,
                "seats": seats.get(name, 0),
                "memoryTotal": known.memory if known else psutil.virtual_memory().total if name == CONTROLLER else 0,
                "memoryPromised": promised.get(name, 0),
                "memoryUsed": sampler.memory(name),
                "diskTotal": disk.total if disk else None,
                "diskFree": disk.free if disk else None,
                "cpus": known.cpus if known else float(sampler.cores) if name == CONTROLLER else 0.0,
                "engineVersion": known.engine_version if known else None,
                "address": known.address if known else None,
                "labels": dict(node.labels or {}) if node else {},
                "lastSeen": watcher.last_seen(name),
            }
        )
    return found


def set_availability(engines: Engines, name: str, availability: str) -> None:
    """Sets whether the machine takes new workspaces: ``active`` or ``paused``. NOT_FOUND for one in no swarm."""
    node = engines.swarm_nodes().get(name)
    if node is None:
        raise AtelierError(Code.NOT_FOUND, Message("api.no_node", node=name[:60]), field="name", value=name[:60])
    engines.of(CONTROLLER).set_availability(node.id, "pause" if availability == "paused" else "active")
