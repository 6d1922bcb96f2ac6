"""Workspaces as modules return them: plain data, without anything secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..common.models import Site, Status, Workspace
from ..containers.container import container_of, observed_status, why_away
from ..containers.context import Context
from ..database.lasting_errors import shown
from ..engine.models import Container
from ..git.names import MAIN

# The values of a view that nobody can know before the workspace's row exists.
UNKNOWN = dict.fromkeys(("id", "url", "address", "created_at"))


@dataclass(frozen=True)
class Change:
    """A change of a workspace: its views before and after. A view is empty if the workspace does not exist."""

    changed: bool
    before: Mapping[str, object]
    after: Mapping[str, object]

    def view(self) -> dict[str, object]:
        """The change as modules return it."""
        diff = {"before": dict(self.before), "after": dict(self.after)}
        return {"changed": self.changed, "diff": diff, "workspace": dict(self.after)}


def view(site: Site, workspace: Workspace, status: Status, error: str | None = None) -> dict[str, object]:
    """The workspace by the names that playbooks use, with the status that was observed."""
    status, error = shown(workspace, status, error)
    return {
        "id": workspace.id,
        "name": workspace.name,
        "status": str(status),
        "error": error,
        "url": site.workspace_url(workspace.id),
        "address": workspace.address,
        "node": workspace.node,
        "template": workspace.template,
        "group": workspace.group,
        "memory": workspace.limits.memory,
        "cpus": workspace.limits.cpus,
        "proxy_mode": str(workspace.proxy_mode),
        "git_url": workspace.git_url,
        "repository": repository_view(site, workspace),
        "git_problem": workspace.git_problem,
        "notes": workspace.notes,
        "password_protected": workspace.password_protected,
        "cloned_from": workspace.cloned_from,
        "created_at": workspace.created_at,
    }


def repository_view(site: Site, workspace: Workspace) -> dict[str, str] | None:
    """A workspace's repository by the names that playbooks use; None without one."""
    if site.git is None or workspace.repository is None or not workspace.has_repository:
        return None
    return {
        "name": workspace.repository,
        "full_name": f"{site.git.owner}/{workspace.repository}",
        "clone_url": site.git.clone_url(workspace.repository),
        "web_url": site.git.web_url(workspace.repository),
        "branch": workspace.branch or MAIN,
    }


def observed_view(site: Site, workspace: Workspace, container: Container | None) -> dict[str, object]:
    """The workspace with the status that its container has now."""
    return view(site, workspace, *observed_status(workspace, container))


def current_view(context: Context, workspace: Workspace) -> dict[str, object]:
    """Like ``observed_view``, for the container on the workspace's machine."""
    return observed_view(context.site, workspace, container_of(context.at(workspace), workspace))


def containers_by_id(site: Site, containers: Iterable[Container]) -> dict[str, Container]:
    """The workspaces' own. One that somebody made from a seat's image bears the seat's labels too, but not its name."""
    found: dict[str, Container] = {}
    for container in containers:
        id = container.labels.get("atelier.workspace")
        if id and container.name == site.container_name(id):
            found[id] = container
    return found


def list_workspaces(context: Context, **wanted: str | None) -> list[dict[str, object]]:
    """Views of the workspaces that have all ``wanted`` values, by the names of Workspace's fields, oldest first."""
    label = f"atelier.instance={context.site.instance}"
    containers = dict(
        context.at_each(lambda here: (here.node, containers_by_id(context.site, here.engine.containers(label))))
    )
    return [
        observed_view(context.site, row, containers[row.node].get(row.id))
        if row.node in containers
        else view(context.site, row, Status.ERROR, why_away(row))
        for row in context.store.all()
        if all(value in (None, getattr(row, name)) for name, value in wanted.items())
    ]


def change_summary(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Describes the change of a workspace, for people, from its views before and after; empty if it does not exist."""
    if not after:
        return f"{before['name']} is deleted." if before else "There is no such workspace."
    where = f" at {after['url']}" if after["status"] == Status.RUNNING and after["url"] else ""
    access = "asks for a password" if after["password_protected"] else "is open to everybody who can reach it"
    return f"{after['name']} is {after['status']}{where} and {access}."
