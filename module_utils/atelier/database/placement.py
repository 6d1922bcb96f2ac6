"""Decides on which machine each new workspace is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIB


@dataclass(frozen=True)
class Machine:
    """A node that takes new workspaces. ``memory``: bytes that may be promised to them."""

    name: str
    memory: int


def place_on(machines: Sequence[Machine], sizes: Sequence[int], promised: Mapping[str, int]) -> list[str]:
    """The node of each workspace, each put where most memory is left, so that a batch spreads.

    ``sizes`` are the workspaces' memory in bytes, ``promised`` what those that run have of each node. Raises NO_ROOM
    when not all fit: then none is placed.
    """
    left = {machine.name: machine.memory - promised.get(machine.name, 0) for machine in machines}
    placed: list[str] = []
    for size in sizes:
        # By name where two have as much, so that the same order gives the same answer.
        name = max(sorted(left), key=lambda name: left[name], default=None)
        if name is None or left[name] < size:
            free = ", ".join(f"{name} {max(left[name], 0) / GIB:.1f} GiB" for name in sorted(left)) or "-"
            raise AtelierError(
                Code.NO_ROOM,
                Message("no_room", fits=len(placed), count=len(sizes), size=f"{size / GIB:.1f}", free=free),
                field="site.nodes",
                requested=len(sizes),
                fits=len(placed),
            )
        left[name] -= size
        placed.append(name)
    return placed
