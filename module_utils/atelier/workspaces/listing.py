"""Workspaces as a list, with the status that Docker shows now."""

from __future__ import annotations

from collections.abc import Iterable

from ..common.models import Site, Status
from ..containers.container import why_away
from ..containers.context import Context
from ..engine.models import Container
from .views import observed_view, view


def containers_by_id(site: Site, containers: Iterable[Container]) -> dict[str, Container]:
    """The workspaces' own. One that somebody made from a seat's image bears the seat's labels too, but not its name."""
    found: dict[str, Container] = {}
    for container in containers:
        id = container.labels.get("atelier.workspace")
        if id and container.name == site.container_name(id):
            found[id] = container
    return found


def list_workspaces(
    context: Context,
    *,
    name: str | None = None,
    id: str | None = None,
    group: str | None = None,
    cloned_from: str | None = None,
    node: str | None = None,
) -> list[dict[str, object]]:
    """Views of the workspaces that match everything given, oldest first."""
    label = f"atelier.instance={context.site.instance}"
    containers = dict(
        context.at_each(lambda here: (here.node, containers_by_id(context.site, here.engine.containers(label))))
    )
    return [
        observed_view(context.site, row, containers[row.node].get(row.id))
        if row.node in containers
        else view(context.site, row, Status.ERROR, why_away(row))
        for row in context.store.all()
        if name in (None, row.name)
        and id in (None, row.id)
        and group in (None, row.group)
        and cloned_from in (None, row.cloned_from)
        and node in (None, row.node)
    ]
