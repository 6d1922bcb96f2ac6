"""Workspaces as a list, with the status that Docker shows now."""

from __future__ import annotations

from .engine import Container
from .platform import Platform
from .views import observed_view


def workspace_containers(platform: Platform) -> dict[str, Container]:
    """The installation's containers by workspace id. One that somebody made from a seat's image bears the seat's labels
    too, but not its name."""
    containers: dict[str, Container] = {}
    for container in platform.engine.containers(f"atelier.instance={platform.site.instance}"):
        id = container.labels.get("atelier.workspace")
        if id and container.name == platform.site.container_name(id):
            containers[id] = container
    return containers


def list_workspaces(
    platform: Platform,
    *,
    name: str | None = None,
    id: str | None = None,
    group: str | None = None,
    cloned_from: str | None = None,
) -> list[dict[str, object]]:
    """Views of the workspaces that match everything given, oldest first."""
    containers = workspace_containers(platform)
    return [
        observed_view(platform.site, row, containers.get(row.id))
        for row in platform.registry.all()
        if name in (None, row.name)
        and id in (None, row.id)
        and group in (None, row.group)
        and cloned_from in (None, row.cloned_from)
    ]
