"""Workspaces as the operator's page shows them.

Everything here is pure, as in its neighbours: the API's answers and words in, plain data for a template out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from atelier.common.egress_modes import ProxyMode
from atelier.common.models import CONTROLLER, CPU_COUNTS, MEMORY_SIZES, Limits

from ...schemas.fields import GIT_TEMPLATE, TEMPLATE_FROM_GIT
from ...schemas.projects import DetailedProject, Project
from ...schemas.system import Configuration
from ...services.presenter import UNGROUPED
from ..i18n import Words
from . import options

# The contract writes a size such as "1.2GB" without a space, people write it with one.
_UNIT = re.compile(r"([KMGT]?B)$")


def table(
    projects: Sequence[Project], wanted_group: str, translator: Words, wanted_node: str = "", *, movable: bool = False
) -> dict[str, Any]:
    """The rows of a group and a machine (all, without one), how many there are by status, and the sentence when there
    is none. ``movable``: there are other machines."""
    shown = [
        project
        for project in projects
        if wanted_group in ("", project["group"]) and wanted_node in ("", project["node"])
    ]
    none = "none" if not projects else "none_at_machine" if wanted_node else "none_in_group"
    return {
        "rows": [row(project, translator, movable=movable) for project in shown],
        "bulk": _bulk(shown, translator),
        "caption": translator.count("workspaces.shown", len(shown)),
        "empty": "" if shown else translator(f"workspaces.{none}"),
    }


def _bulk(shown: Sequence[Project], translator: Words) -> dict[str, Any]:
    """The operations on all shown workspaces at once, each a separate call."""
    ready = [project for project in shown if project["status"] != "creating"]
    old = any(project["imageOutdated"] for project in ready)
    names = ["start", "stop", *(["upgrade"] if old else []), "delete"] if len(ready) > 1 else []
    return {
        "ids": " ".join(project["id"] for project in ready),
        "names": ", ".join(project["name"] for project in ready),
        "actions": [
            {
                "dialog": f"bulk-{name}",
                "label": translator(f"bulk.{name}"),
                "title": translator.count(f"bulk.{name}.title", len(ready)),
                "kind": "bad" if name == "delete" else "",
            }
            for name in names
        ],
    }


def counts(projects: Sequence[Project], translator: Words) -> list[dict[str, Any]]:
    """The number of workspaces by status."""
    statuses: list[str] = [project["status"] for project in projects]
    return [
        {"status": status, "word": translator(f"count.{status}"), "number": statuses.count(status)}
        for status in ("running", "creating", "stopped", "error")
        if status in ("running", "stopped") or status in statuses
    ]


def group_options(projects: Sequence[Project], wanted_group: str, translator: Words) -> list[dict[str, Any]]:
    groups = sorted({project["group"] for project in projects} | ({wanted_group} if wanted_group else set()))
    labels = {group: group_name(group, translator) for group in groups}
    return options({"": translator("filter.all_groups"), **labels}, wanted_group)


def node_options(
    projects: Sequence[Project], nodes: Sequence[str], wanted_node: str, translator: Words
) -> list[dict[str, Any]]:
    """The machines of the inventory, and those it lost that still have workspaces; none on a single machine."""
    if len(nodes) == 1:
        return []
    names = [*nodes, *sorted(project["node"] for project in projects), *filter(None, [wanted_node])]
    return options({"": translator("filter.all_machines"), **{name: name for name in names}}, wanted_node)


def named(groups: Sequence[str]) -> list[str]:
    """The groups that somebody named."""
    return [group for group in groups if group != UNGROUPED]


def group_name(group: str, translator: Words) -> str:
    return translator("group.none") if group == UNGROUPED else group


def kind_name(kind: str, translator: Words) -> str:
    """The name of a workspace's kind: the template's name, or a text for a repository."""
    return translator("kind.git-clone") if kind == TEMPLATE_FROM_GIT else kind


def row(project: Project, translator: Words, *, movable: bool = False) -> dict[str, Any]:
    """A row of the table: the workspace's facts in words, and the possible actions."""
    status = project["status"]
    return {
        "id": project["id"],
        "name": project["name"],
        "group": group_name(project["group"], translator),
        # A form treats an empty text as no group.
        "group_value": "" if project["group"] == UNGROUPED else project["group"],
        "template": kind_name(project["type"], translator),
        "image_word": translator("image.old") if project["imageOutdated"] else "",
        "node": project["node"],
        "status": status,
        "status_word": translator("status.asleep" if project["stoppedFor"] == "idle" else f"status.{status}"),
        "error": translator.translate(project["error"] or project["diskWarning"] or ""),
        "url": project["workspaceUrl"] if status == "running" else "",
        "protected": "true" if project["passwordProtected"] else "",
        "capabilities": sorted(ProxyMode(project["proxyMode"]).capabilities),
        "mode_word": translator(f"mode.{project['proxyMode']}"),
        "limits": translator("limits.short", memory=project["memoryLimit"][:-1], cpus=project["cpuCores"]),
        "used_at": project["lastActivity"],
        "notes": project["notes"],
        "switch": _switch(project, translator),
        "actions": _actions(project, translator, movable=movable),
    }


def _switch(project: Project, translator: Words) -> list[dict[str, str]]:
    """Start or stop, whichever there is a point in: a visit does not start one that sleeps after it was stopped. A
    protected one wants its password before it stops."""
    start = {"label": translator("do.start"), "call": f"POST /api/projects/{project['id']}/start", "dialog": ""}
    stop = {"label": translator("do.stop"), "call": "", "dialog": "stop"}
    if project["status"] in ("stopped", "error"):
        return [start, stop] if project["stoppedFor"] == "idle" else [start]
    return [stop] if project["status"] == "running" else []


def _actions(project: Project, translator: Words, *, movable: bool) -> list[dict[str, str]]:
    if project["status"] == "creating":
        return []
    possible = [*(["upgrade"] if project["imageOutdated"] else ()), *(["move"] if movable else ())]
    names = ["clone", "rename", "group", "notes", "password", "extend", "checkpoint", "reset", *possible, "delete"]
    return [
        {"dialog": name, "label": translator(f"do.{name}"), "kind": "bad" if name == "delete" else ""} for name in names
    ]


def create_form(config: Configuration, groups: Sequence[str], translator: Words) -> dict[str, Any]:
    """The choices for a new workspace on this installation."""
    modes = [mode for mode in ProxyMode if config["enableProxy"] or not mode.proxy]
    usual = Limits()
    kinds = [*config["templates"], *([TEMPLATE_FROM_GIT] if GIT_TEMPLATE in config["templates"] else [])]
    return {
        "kinds": options({kind: kind_name(kind, translator) for kind in kinds}),
        "modes": [
            {"value": str(mode), "label": translator(f"mode.{mode}"), "hint": translator(f"mode.{mode}.hint")}
            for mode in modes
        ],
        "memory": options({size: translator("limits.memory", memory=size[:-1]) for size in MEMORY_SIZES}, usual.memory),
        "cpus": options({count: translator.count("limits.cpus", int(count)) for count in CPU_COUNTS}, usual.cpus),
        "groups": named(groups),
        "git": bool(config["gitServerEnabled"]),
    }


def facts(project: DetailedProject, extended: str, translator: Words) -> list[dict[str, Any]]:
    """The facts on a workspace's page, as names and values; ``time`` has a moment. ``extended``: when it may be stopped
    again, in ISO 8601; empty if nobody extended it."""
    shown: list[tuple[str, str, str]] = [
        ("fact.template", kind_name(project["type"], translator), ""),
        *([("fact.image", translator("image.old"), "")] if project["imageOutdated"] else ()),
        ("fact.group", group_name(project["group"], translator), ""),
        ("fact.mode", translator(f"mode.{project['proxyMode']}"), ""),
        ("fact.password", translator("protected.yes" if project["passwordProtected"] else "protected.no"), ""),
        *([("fact.node", project["node"], "")] if project["node"] != CONTROLLER else ()),
        *(_figures(project, translator) if project["container"]["status"] == "running" else ()),
        ("fact.created", "", project["createdAt"]),
        ("fact.used", "", project["lastActivity"]),
        *([("fact.extended", "", extended)] if extended else ()),
    ]
    return [
        {"name": translator(key), "value": value, "time": moment, "exact": key == "fact.extended"}
        for key, value, moment in shown
    ]


def _figures(project: DetailedProject, translator: Words) -> list[tuple[str, str, str]]:
    """The resource usage of a running workspace."""
    container = project["container"]
    memory = translator.figure(_UNIT.sub(r" \1", container["resources"]["memory"]))
    limit = translator("limits.memory", memory=project["memoryLimit"][:-1])
    cpu = translator.figure(container["resources"]["cpu"])
    return [
        ("fact.memory", translator("fact.of", used=memory, limit=limit), ""),
        ("fact.cpu", translator("fact.of_cpus", used=cpu, limit=project["cpuCores"]), ""),
        ("fact.uptime", container["uptime"], ""),
    ]
