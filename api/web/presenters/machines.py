"""The machines as their page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atelier.common.models import Status, Workspace

from ...core.formatting import size
from ...schemas.nodes import NodeView
from ..i18n import Words

_NOT_MEASURED = {"text": "", "share": 0}


def rows(machines: Sequence[NodeView], seats: Sequence[Workspace], translator: Words) -> list[dict[str, Any]]:
    """One row per machine. ``seats``: the workspaces of all machines. A single machine cannot be paused or drained, and
    its workspaces cannot move."""
    only = len(machines) == 1
    return [_row(machine, [] if only else _movable(seats, machine["name"]), translator, only) for machine in machines]


def _movable(seats: Sequence[Workspace], node: str) -> list[Workspace]:
    return [seat for seat in seats if seat.node == node and seat.status is not Status.CREATING]


def _row(machine: NodeView, movable: Sequence[Workspace], translator: Words, only: bool) -> dict[str, Any]:
    total, disk_total = machine["memoryTotal"], machine["diskTotal"]
    paused = machine["availability"] == "paused"
    state = "away" if machine["state"] != "ready" else "paused" if paused else "ready"
    disk = _part(disk_total - (machine["diskFree"] or 0), disk_total, translator) if disk_total else _NOT_MEASURED
    return {
        **machine,
        "state": state,
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(machine["labels"].items())),
        "promised": _part(machine["memoryPromised"], total, translator),
        "used": _part(machine["memoryUsed"], total, translator),
        "disk": disk,
        "drains": not only and machine["seats"] > 0 and state != "away",
        # The machine's workspaces move with one call each; those of a machine that does not answer begin elsewhere.
        "move": "elsewhere" if state == "away" else "move_seats",
        "movable": movable,
        "change": "" if only else "active" if paused else "paused",
    }


def _part(part: int, total: int, translator: Words) -> dict[str, Any]:
    """A part of the total in words, and in percent."""
    text = f"{size(part, ' ')} / {size(total, ' ')}" if total else size(part, " ")
    return {"text": translator.figure(text), "share": min(round(100 * part / total), 100) if total else 0}
