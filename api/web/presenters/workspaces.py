"""Workspaces, their ports and repositories as the operator's pages show them.

Everything here is pure, as in its neighbours: the API's answers in, plain data for a template out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from atelier.common.egress_modes import ProxyMode
from atelier.common.models import CPU_COUNTS, MEMORY_SIZES, Limits

from ...core.formatting import natural_key
from ...schemas.aliases import OpenPort
from ...schemas.fields import GIT_TEMPLATE, TEMPLATE_FROM_GIT
from ...schemas.git import Repository
from ...schemas.projects import Project
from ...schemas.system import Configuration
from ...services.presenter import UNGROUPED
from ..i18n import Words

_UNIT = re.compile(r"([KMGT]?B)$")


def table(
    projects: Sequence[Project], wanted_group: str, wanted_node: str = "", *, movable: bool = False
) -> dict[str, Any]:
    """The rows of a group and a machine (all, without one), the operations on all of them at once, each a separate call
    for each, and the key of the sentence when there is none. ``movable``: there are other machines."""
    shown = [
        project
        for project in projects
        if wanted_group in ("", project["group"]) and wanted_node in ("", project["node"])
    ]
    ready = [project for project in shown if project["status"] != "creating"]
    old = any(project["imageOutdated"] for project in ready)
    none = "none" if not projects else "none_at_machine" if wanted_node else "none_in_group"
    return {
        "rows": [row(project, movable=movable) for project in shown],
        "ready": ready,
        "bulk": ["start", "stop", *(["upgrade"] if old else []), "delete"] if len(ready) > 1 else [],
        "empty": "" if shown else f"workspaces.{none}",
    }


def counts(projects: Sequence[Project]) -> dict[str, int]:
    """The number of workspaces by status."""
    statuses: list[str] = [project["status"] for project in projects]
    return {
        status: statuses.count(status)
        for status in ("running", "creating", "stopped", "error")
        if status in ("running", "stopped") or status in statuses
    }


def group_labels(projects: Sequence[Project], wanted_group: str, translator: Words) -> dict[str, str]:
    """The groups that there are, and the wanted one."""
    groups = sorted({project["group"] for project in projects} | ({wanted_group} if wanted_group else set()))
    return {group: translator("group.none") if group == UNGROUPED else group for group in groups}


def node_names(projects: Sequence[Project], nodes: Sequence[str], wanted_node: str) -> dict[str, str]:
    """The machines of the inventory, and those it lost that still have workspaces; none on a single machine."""
    if len(nodes) == 1:
        return {}
    names = [*nodes, *sorted(project["node"] for project in projects), *filter(None, [wanted_node])]
    return {name: name for name in names}


def named(groups: Sequence[str]) -> list[str]:
    """The groups that somebody named."""
    return [group for group in groups if group != UNGROUPED]


def row(project: Project, *, movable: bool = False) -> dict[str, Any]:
    """A workspace with its fault and the possible actions. The group is empty for none."""
    return {
        **project,
        "group": "" if project["group"] == UNGROUPED else project["group"],
        "fault": project["error"] or project["diskWarning"] or "",
        "capabilities": sorted(ProxyMode(project["proxyMode"]).capabilities),
        "switches": _switches(project),
        "actions": _actions(project, movable=movable),
    }


def _switches(project: Project) -> list[str]:
    """Start or stop, whichever there is a point in: a visit does not start one that sleeps after it was stopped."""
    if project["status"] in ("stopped", "error"):
        return ["start", "stop"] if project["stoppedFor"] == "idle" else ["start"]
    return ["stop"] if project["status"] == "running" else []


def _actions(project: Project, *, movable: bool) -> list[str]:
    if project["status"] == "creating":
        return []
    possible = [*(["upgrade"] if project["imageOutdated"] else ()), *(["move"] if movable else ())]
    return ["clone", "rename", "group", "notes", "password", "extend", "checkpoint", "reset", *possible, "delete"]


def create_form(config: Configuration, groups: Sequence[str], translator: Words) -> dict[str, Any]:
    """The choices for a new workspace on this installation, with their labels, and the usual limits."""
    kinds = [*config["templates"], *([TEMPLATE_FROM_GIT] if GIT_TEMPLATE in config["templates"] else [])]
    return {
        "kinds": {kind: translator.texts.get(f"kind.{kind}", kind) for kind in kinds},
        "modes": [str(mode) for mode in ProxyMode if config["enableProxy"] or not mode.proxy],
        "memory": {size: translator("limits.memory", memory=size[:-1]) for size in MEMORY_SIZES},
        "cpus": {count: translator.count("limits.cpus", int(count)) for count in CPU_COUNTS},
        "usual": Limits(),
        "groups": named(groups),
        "git": bool(config["gitServerEnabled"]),
    }


def spaced(size: str) -> str:
    """The contract writes a size such as "1.2GB" without a space, people write it with one."""
    return _UNIT.sub(r" \1", size)


def ports(found: Sequence[OpenPort], shared: Sequence[int]) -> list[dict[str, Any]]:
    """The open and the shared ports, with the key of the words for who may open each. A port that only the workspace
    can reach has no address."""
    open_ports = {entry["port"]: entry for entry in found}
    return [
        {
            "number": port,
            "url": open_ports[port]["url"] if port in open_ports and open_ports[port]["reachable"] else "",
            "shared": port in shared,
            "access": _access(open_ports.get(port), port in shared),
        }
        for port in sorted({*open_ports, *shared})
    ]


def _access(entry: OpenPort | None, shared: bool) -> str:
    if entry is not None and not entry["reachable"]:
        return "ports.local"
    if shared:
        return "ports.shared"
    return "ports.password" if entry is not None and entry["passwordRequired"] else "ports.people"


def default_first(repository: Repository) -> list[str]:
    """The repository's branches: the default one first, the others in natural order."""
    default = repository["defaultBranch"]
    return sorted(repository["branches"], key=lambda name: (name != default, natural_key(name)))
