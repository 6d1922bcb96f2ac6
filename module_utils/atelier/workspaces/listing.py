"""Workspaces as a list, with the status that Docker shows now."""

from __future__ import annotations

from collections.abc import Iterable

from ..containers.context import Context
from ..engine.interface import Container
from .views import observed_view


def workspace_containers(context: Context) -> dict[str, Container]:
    """The installation's containers by workspace id."""
    return containers_by_id(context, context.engine.containers(f"atelier.instance={context.site.instance}"))


def containers_by_id(context: Context, containers: Iterable[Container]) -> dict[str, Container]:
    """The workspaces' own. One that somebody made from a seat's image bears the seat's labels too, but not its name."""
    found: dict[str, Container] = {}
    for container in containers:
        id = container.labels.get("atelier.workspace")
        if id and container.name == context.site.container_name(id):
            found[id] = container
    return found


def list_workspaces(
    context: Context,
    *,
    name: str | None = None,
    id: str | None = None,
    group: str | None = None,
    cloned_from: str | None = None,
) -> list[dict[str, object]]:
    """Views of the workspaces that match everything given, oldest first."""
    containers = workspace_containers(context)
    return [
        observed_view(context.site, row, containers.get(row.id))
        for row in context.store.all()
        if name in (None, row.name)
        and id in (None, row.id)
        and group in (None, row.group)
        and cloned_from in (None, row.cloned_from)
    ]
