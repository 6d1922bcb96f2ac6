"""Decides which clients may use the recorder, and which addresses they may reach.

The recorder runs on the host's network, so it could reach what seats must not: the host's own services, other networks,
the cloud's metadata address. Everything except public addresses of others is refused, whatever name resolved to it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# Metadata services at addresses that count as public: Azure.
_METADATA = frozenset({IPv4Address("168.63.129.16")})
# RFC 6052: the last four bytes are the IPv4 address that the packets go to.
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressFilter:
    """``refused`` networks beat ``allowed`` ones, which beat the rule that an address must be public."""

    def __init__(self, clients: str, refused: Iterable[str], allowed: Iterable[str]) -> None:
        self._clients = ip_network(clients)
        self._refused = [ip_network(network) for network in refused]
        self._allowed = [ip_network(network) for network in allowed]

    def client_allowed(self, address: str) -> bool:
        client = _plain(address)
        return client is not None and client in self._clients

    def destination_allowed(self, address: str) -> bool:
        """Whether this address, the result of name resolution, may be connected to."""
        target = _plain(address)
        if target is None or any(target in network for network in self._refused):
            return False
        if any(target in network for network in self._allowed):
            return True
        return target.is_global and not target.is_multicast and target not in _METADATA and not _is_own(target)


def is_literal(host: str) -> bool:
    """Whether the host is an address already, in a form that the resolver would not be asked about."""
    return _plain(host) is not None


def _is_own(address: IPv4Address | IPv6Address) -> bool:
    """Whether this machine has the address: then the kernel would also send from it. No packet is sent for this."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:
        return False  # no way there at all, or no IPv6 here: connecting will say so


def _plain(address: str) -> IPv4Address | IPv6Address | None:
    """The address that packets really go to: IPv4 is unwrapped from the IPv6 forms that carry it. None for a name."""
    try:
        found = ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found.sixtofour is not None:
            return found.sixtofour
        if found in _NAT64:
            return IPv4Address(int(found) & 0xFFFFFFFF)
    return found
