"""Address ranges that a host already uses, and whether a new one collides with them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message


@dataclass(frozen=True)
class Route:
    """One line of the kernel's routing table. The default route has the network 0.0.0.0/0."""

    interface: str
    network: IPv4Network


@dataclass(frozen=True)
class Wanted:
    """A range that a bridge is to get; ``variable`` is the setting it comes from."""

    subnet: str
    bridge: str
    variable: str


def parse_routes(table: str) -> list[Route]:
    """The routes in the text of /proc/net/route, whose numbers are hexadecimal in the host's byte order (proc(5))."""
    routes = []
    for columns in map(str.split, table.splitlines()[1:]):
        if len(columns) >= 8:
            network = tuple(".".join(map(str, struct.pack("=I", int(columns[i], 16)))) for i in (1, 7))
            routes.append(Route(columns[0], IPv4Network("/".join(network))))
    return routes


def uplinks(routes: Iterable[Route]) -> list[str]:
    """The interfaces of the default routes."""
    return sorted({route.interface for route in routes if route.network.prefixlen == 0})


def neighbours(routes: Iterable[Route]) -> list[str]:
    """The networks that are known to lie behind the interfaces of ``uplinks``: this host's own, above all."""
    routes = list(routes)
    outside = uplinks(routes)
    found = {route.network for route in routes if route.network.prefixlen and route.interface in outside}
    return [str(network) for network in sorted(found)]


def name_servers(*configurations: str) -> list[str]:
    """The IPv4 name servers in texts of resolv.conf(5), without those of the host itself."""
    found = set()
    for words in (line.split() for text in configurations for line in text.splitlines()):
        if len(words) > 1 and words[0] == "nameserver":
            with suppress(ValueError):
                found.add(IPv4Address(words[1]))
    return [str(address) for address in sorted(found) if not address.is_loopback]


def destinations(texts: Iterable[str]) -> dict[str, list[str]]:
    """The private networks that seats may reach, as texts under ``ipv4`` and ``ipv6``. Raises VALIDATION_ERROR for an
    invalid one."""
    found: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            field = "atelier_network_internal_destinations"
            raise invalid("subnet.no_destination", field, value=text[:60], why=error) from error
    return {f"ipv{version}": [str(network) for network in found if network.version == version] for version in (4, 6)}


def lets_names_out(engine_version: str) -> bool:
    """Whether this Docker answers names of the outside in a network that has no way out (CVE-2024-29018; fixed in
    23.0.11, 25.0.5 and 26.0.0). An unknown form of version is taken for a new one."""
    parts = re.match(r"(\d+)\.(\d+)\.(\d+)", engine_version)
    if parts is None:
        return False
    version = tuple(map(int, parts.groups()))
    return version < (23, 0, 11) or (24,) <= version < (25, 0, 5)


def check_subnets(wanted: Iterable[Wanted], routes: Iterable[Route]) -> None:
    """Raises VALIDATION_ERROR for a range that is malformed, or that overlaps a route or another wanted range.

    The route of the wanted bridge itself is no collision: that is the network as an earlier run made it.
    """
    taken = [
        (route.network, Message("subnet.of_interface", interface=route.interface), route.interface) for route in routes
    ]
    for item in wanted:
        try:
            subnet = IPv4Network(item.subnet)
        except ValueError as error:
            raise invalid("subnet.no_range", item.variable, why=error) from error
        for network, whose, interface in taken:
            if network.prefixlen > 0 and interface != item.bridge and network.overlaps(subnet):
                why = Message("subnet.overlaps", field=item.variable, subnet=subnet, network=network, whose=whose)
                raise AtelierError(Code.VALIDATION_ERROR, why, field=item.variable, overlaps=str(network))
        taken.append((subnet, Message("subnet.of_setting", field=item.variable), item.bridge))


def check_proxies(proxies: Iterable[str], seat_subnets: Iterable[str]) -> None:
    """Raises VALIDATION_ERROR for a trusted proxy that is not an address or range, or that includes a seat's address:
    the seat could forge its client address."""
    seats = [IPv4Network(subnet) for subnet in seat_subnets]
    for proxy in proxies:
        try:
            network = ip_network(proxy)
        except ValueError as error:
            raise invalid("subnet.no_proxy", "atelier_trusted_proxies", value=proxy[:60], why=error) from error
        for seat in seats:
            # HAProxy compares an IPv4 source with IPv6 ranges, too, as ::ffff:a.b.c.d.
            mapped = IPv6Network((0xFFFF << 32 | int(seat.network_address), 96 + seat.prefixlen))
            if network.overlaps(seat if isinstance(network, IPv4Network) else mapped):
                raise invalid("subnet.proxy_of_seats", "atelier_trusted_proxies", proxy=proxy, seats=seat)
