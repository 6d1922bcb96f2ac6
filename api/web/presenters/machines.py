"""The machines as their page shows them: the API's answers and words in, plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.formatting import size
from ...schemas.nodes import NodeView
from ..i18n import Words


def rows(machines: Sequence[NodeView], translator: Words) -> list[dict[str, Any]]:
    """One row a machine. A single machine cannot be paused or drained."""
    return [_row(machine, translator, only=len(machines) == 1) for machine in machines]


def _row(machine: NodeView, translator: Words, *, only: bool) -> dict[str, Any]:
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
        "change": "" if only else "active" if paused else "paused",
        "change_label": translator("machines.activate" if paused else "machines.pause"),
    }


def _of(part: int, total: int, translator: Words) -> str:
    return translator.figure(f"{size(part, ' ')} / {size(total, ' ')}" if total else size(part, " "))


def _share(part: int, total: int) -> int:
    return min(round(100 * part / total), 100) if total else 0
