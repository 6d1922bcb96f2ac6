"""The machines as their page shows them: the API's answers and words in, plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atelier.common.models import Status, Workspace

from ...core.formatting import size
from ...schemas.nodes import NodeView
from ..i18n import Words


def rows(machines: Sequence[NodeView], seats: Sequence[Workspace], translator: Words) -> list[dict[str, Any]]:
    """One row per machine. ``seats``: the workspaces of all machines. A single machine cannot be paused or drained, and
    its workspaces cannot move."""
    only = len(machines) == 1
    return [_row(machine, [] if only else _movable(seats, machine["name"]), translator, only) for machine in machines]


def _movable(seats: Sequence[Workspace], node: str) -> list[Workspace]:
    return [seat for seat in seats if seat.node == node and seat.status is not Status.CREATING]


def _row(machine: NodeView, movable: Sequence[Workspace], translator: Words, only: bool) -> dict[str, Any]:
    paused, ready = machine["availability"] == "paused", machine["state"] == "ready"
    total, disk_total = machine["memoryTotal"], machine["diskTotal"] or 0
    disk_used = disk_total - (machine["diskFree"] or 0)
    state = "paused" if ready and paused else "ready" if ready else "away"
    return {
        "name": machine["name"],
        "address": machine["address"] or "",
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(machine["labels"].items())),
        "dot": {"ready": "running", "paused": "stopped", "away": "error"}[state],
        "state": translator(f"machines.is_{state}"),
        "last_seen": "" if ready else machine["lastSeen"] or "",
        "seats": machine["seats"],
        "promised": _of(machine["memoryPromised"], total, translator),
        "promised_share": _share(machine["memoryPromised"], total),
        "used": _of(machine["memoryUsed"], total, translator),
        "used_share": _share(machine["memoryUsed"], total),
        "disk": _of(disk_used, disk_total, translator) if disk_total else "",
        "disk_share": _share(disk_used, disk_total),
        "engine": f"Docker {machine['engineVersion']}" if machine["engineVersion"] else "",
        "drains": not only and machine["seats"] > 0 and state != "away",
        "move": _move(movable, translator, lost=state == "away"),
        "change": "" if only else "active" if paused else "paused",
        "change_label": translator("machines.activate" if paused else "machines.pause"),
    }


def _move(movable: Sequence[Workspace], translator: Words, *, lost: bool) -> dict[str, str]:
    """The button that moves the machine's workspaces, one call each; empty if there are none. Workspaces of a machine
    that does not answer begin elsewhere."""
    if not movable:
        return {}
    name = "elsewhere" if lost else "move_seats"
    return {
        "dialog": name.replace("_", "-"),
        "label": translator(f"machines.{name}"),
        "title": translator.count(f"machines.{name}.title", len(movable)),
        "ids": " ".join(seat.id for seat in movable),
        "names": ", ".join(seat.name for seat in movable),
    }


def _of(part: int, total: int, translator: Words) -> str:
    return translator.figure(f"{size(part, ' ')} / {size(total, ' ')}" if total else size(part, " "))


def _share(part: int, total: int) -> int:
    return min(round(100 * part / total), 100) if total else 0
