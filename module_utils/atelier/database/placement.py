"""Decides on which machine each new workspace is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIB


@dataclass(frozen=True)
class Machine:
    """A node that takes new workspaces. ``memory``: bytes that may be promised to them. ``labels``: ``name=value``."""

    name: str
    memory: int
    labels: frozenset[str] = frozenset()


def checked_labels(wanted: Sequence[str], known: Sequence[frozenset[str]]) -> str:
    """The labels as a row has them: sorted, with commas between. ``known`` are those of each machine, whether it takes
    workspaces now or not. Raises VALIDATION_ERROR when no machine has all of them."""
    labels = _parts(",".join(wanted))
    if labels and not any(labels <= present for present in known):
        there = ", ".join(sorted(frozenset[str]().union(*known))) or "-"
        raise AtelierError(
            Code.VALIDATION_ERROR,
            Message("no_such_label", labels=", ".join(sorted(labels))[:100], known=there[:500]),
            field="nodes",
            value=", ".join(sorted(labels))[:100],
        )
    return ",".join(sorted(labels))


def with_labels(machines: Sequence[Machine], labels: str) -> list[Machine]:
    """The machines that have all labels of a row."""
    return [machine for machine in machines if _parts(labels) <= machine.labels]


def _parts(labels: str) -> frozenset[str]:
    return frozenset(part.strip() for part in labels.split(",") if part.strip())


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
