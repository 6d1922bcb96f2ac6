"""Whether there is room for more workspaces: quotas, addresses, and memory, which decides on the machine of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import chain, islice

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.models import GIB, Quotas

# The first addresses are the gateway's, the proxies' and Docker's own.
_RESERVED = 16
_QUOTAS = {
    "max_workspaces_per_user": Code.WORKSPACE_LIMIT_EXCEEDED,
    "max_concurrent_workspaces": Code.CONCURRENT_LIMIT_REACHED,
}


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
        asked = ", ".join(sorted(labels))[:100]
        raise invalid("no_such_label", "nodes", labels=asked, known=there[:500], value=asked)
    return ",".join(sorted(labels))


def with_labels(machines: Sequence[Machine], labels: str) -> list[Machine]:
    """The machines that have all labels of a row."""
    return [machine for machine in machines if _parts(labels) <= machine.labels]


def _parts(labels: str) -> frozenset[str]:
    return frozenset(part.strip() for part in labels.split(",") if part.strip())


def place_on(machines: Sequence[Machine], sizes: Sequence[int], promised: Mapping[str, int]) -> list[str]:
    """Returns the node of each workspace: the one with most free memory, so that a batch spreads.

    ``sizes``: the workspaces' memory in bytes; ``promised``: memory of running workspaces by node. Raises NO_ROOM if
    not all fit; then none is placed.
    """
    left = _left(machines, promised)
    placed = _place(left, sizes)
    if len(placed) < len(sizes):
        size = f"{sizes[len(placed)] / GIB:.1f}"
        free = ", ".join(f"{name} {max(left[name], 0) / GIB:.1f} GiB" for name in left) or "-"
        told = Message("no_room", fits=len(placed), count=len(sizes), size=size, free=free)
        raise AtelierError(Code.NO_ROOM, told, field="site.nodes", requested=len(sizes), fits=len(placed))
    return placed


def check_fits(name: str, size: int, node: str, left: int) -> None:
    """Raises NO_ROOM when a machine has fewer bytes of memory left than the workspace is promised."""
    if size > left:
        told = Message("no_room_on", name=name, size=f"{size / GIB:.1f}", node=node, free=f"{max(left, 0) / GIB:.1f}")
        raise AtelierError(Code.NO_ROOM, told, field="site.nodes", node=node)


def as_many_as_fit(machines: Sequence[Machine], size: int, promised: Mapping[str, int], most: int) -> list[str]:
    """The nodes of workspaces of that size, placed as by ``place_on`` until no machine has room, or ``most`` are."""
    return _place(_left(machines, promised), [size] * most)


def _left(machines: Sequence[Machine], promised: Mapping[str, int]) -> dict[str, int]:
    # Sort by name if two are equal, for reproducible results.
    return {
        machine.name: machine.memory - promised.get(machine.name, 0)
        for machine in sorted(machines, key=lambda machine: machine.name)
    }


def _place(left: dict[str, int], sizes: Sequence[int]) -> list[str]:
    """The node of each workspace, until one fits nowhere; takes their memory from what is left."""
    placed: list[str] = []
    for size in sizes:
        name = max(left, key=lambda name: left[name], default=None)
        if name is None or left[name] < size:
            break
        left[name] -= size
        placed.append(name)
    return placed


def check_quota(quotas: Quotas, setting: str, used: int, wanted: int) -> None:
    """Raises WORKSPACE_LIMIT_EXCEEDED or CONCURRENT_LIMIT_REACHED, as the ``setting`` has it, when ``wanted`` more than
    are ``used`` would be too many."""
    limit: int = getattr(quotas, setting)
    left = max(limit - used, 0)
    if wanted > left:
        order = Message("one_workspace") if wanted == 1 else Message("clones", count=wanted)
        told = Message(setting, order=order, left=left, limit=limit)
        field = f"site.{setting}"
        raise AtelierError(_QUOTAS[setting], told, field=field, limit=limit, used=used, requested=wanted)


def take_addresses(subnet: IPv4Network, used: Collection[str], last: str | None, count: int) -> list[str]:
    """The next ``count`` free addresses after ``last``, wrapping at the range's end: an address is not reused until the
    whole range was used. Raises ADDRESSES_EXHAUSTED."""
    first, end = int(subnet.network_address) + _RESERVED, int(subnet.broadcast_address)
    start = int(IPv4Address(last)) + 1 if last else first
    if not first <= start < end:
        start = first
    addresses = (str(IPv4Address(number)) for number in chain(range(start, end), range(first, start)))
    taken = list(islice((address for address in addresses if address not in used), count))
    if len(taken) < count:
        told = Message("no_addresses", subnet=subnet, free=len(taken), count=count)
        raise AtelierError(Code.ADDRESSES_EXHAUSTED, told, field="site.networks")
    return taken


def free_addresses(subnet: IPv4Network, used: Collection[str]) -> int:
    """The number of free addresses."""
    size = int(subnet.broadcast_address) - int(subnet.network_address) - _RESERVED
    return size - sum(IPv4Address(address) in subnet for address in used if address)
