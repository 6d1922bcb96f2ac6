"""The platform's configuration, for clients and pages."""

from __future__ import annotations

import asyncio
import math

import psutil
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER
from atelier.containers.engines import Engines

from ..core.formatting import size
from ..schemas.nodes import NodeView
from ..schemas.system import Configuration
from .services import Services

# The dialect of the API that clients of it look for.
_DIALECT, _DIALECT_VERSION = "XaresAICoder", "4.2.0"


async def nodes(services: Services) -> list[NodeView]:
    """All machines, the controller first. Raises SERVICE_UNAVAILABLE when the controller's engine does not answer."""
    return await asyncio.to_thread(_nodes, services)


def _nodes(services: Services) -> list[NodeView]:
    site, watcher, sampler = services.settings.site, services.watcher, services.sampler
    swarm, promised, seats = services.engines.swarm_nodes(), services.reads.promised(), services.reads.seats()
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


async def configuration(services: Services) -> Configuration:
    """The configuration for clients: features, limits, the git server."""
    settings, quotas = services.settings, services.settings.site.quotas
    git_url = f"{settings.site.git.base_url if settings.site.git else settings.base_url + '/git'}/"
    git_version = await asyncio.to_thread(services.git_version.read)
    return {
        "platform": _DIALECT,
        "version": _DIALECT_VERSION,
        "gitServerEnabled": settings.git_server_enabled,
        "gitServerUrl": git_url,
        "showDiskUsage": settings.show_disk_usage,
        "enableProxy": settings.enable_proxy,
        "baseDomain": settings.site.domain,
        "basePort": settings.site.port,
        "protocol": settings.site.protocol,
        "features": {
            "gitServer": settings.git_server_enabled,
            "passwordProtection": True,
            "multipleTemplates": len(settings.api_templates) > 1,
        },
        "limits": {
            "maxWorkspacesPerUser": quotas.max_workspaces_per_user,
            "workspaceTimeout": math.ceil(settings.workspace_timeout),
            "maxMemoryPerWorkspace": size(quotas.memory_per_workspace_mb * 1024**2).replace(".0", ""),
            "maxCPUPerWorkspace": quotas.cpu_per_workspace,
        },
        "gitServer": {"enabled": settings.git_server_enabled, "url": git_url, "version": git_version},
        "templates": list(settings.api_templates),
        "implementation": {"name": "Atelier", "version": settings.api_version},
    }
