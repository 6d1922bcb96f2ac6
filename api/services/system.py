"""The platform's configuration, for clients and pages."""

from __future__ import annotations

import asyncio
import math

from ..core.formatting import size
from ..monitoring.nodes import node_views
from ..schemas.nodes import NodeView
from ..schemas.system import Configuration
from .services import Services

# The dialect of the API that clients of it look for.
_DIALECT, _DIALECT_VERSION = "XaresAICoder", "4.2.0"


async def nodes(services: Services) -> list[NodeView]:
    """The machines, the controller first. Raises SERVICE_UNAVAILABLE when the controller's engine does not answer."""
    site = services.settings.site
    return await asyncio.to_thread(
        node_views, site, services.engines, services.reads, services.watcher, services.sampler
    )


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
