"""Allocates permanent addresses within a network's range."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from ..common.errors import AtelierError, Code
from ..common.messages import Message

# The first addresses are the gateway's, the proxies' and Docker's own.
_RESERVED = 16


def take_addresses(subnet: IPv4Network, used: Collection[str], last: str | None, count: int) -> tuple[list[str], str]:
    """The next ``count`` free addresses after ``last``, wrapping at the range's end, and the new ``last``.

    An address is not reused until the whole range was used. Raises ADDRESSES_EXHAUSTED.
    """
    first, end = int(subnet.network_address) + _RESERVED, int(subnet.broadcast_address)
    size = end - first
    position = int(IPv4Address(last)) if last and IPv4Address(last) in subnet else first - 1
    taken: list[str] = []
    for _ in range(size):
        if len(taken) == count:
            break
        position = first if position + 1 >= end or position + 1 < first else position + 1
        address = str(IPv4Address(position))
        if address not in used:
            taken.append(address)
    if len(taken) < count:
        told = Message("no_addresses", subnet=subnet, free=len(taken), count=count)
        raise AtelierError(Code.ADDRESSES_EXHAUSTED, told, field="site.networks")
    return taken, str(IPv4Address(position))


def free_addresses(subnet: IPv4Network, used: Collection[str]) -> int:
    """The number of free addresses."""
    size = int(subnet.broadcast_address) - int(subnet.network_address) - _RESERVED
    return size - sum(IPv4Address(address) in subnet for address in used if address)
