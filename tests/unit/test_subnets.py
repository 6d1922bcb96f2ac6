"""Ranges that a host uses, and those that may be added."""

from __future__ import annotations

import sys
from contextlib import nullcontext as does_not_raise
from ipaddress import IPv4Network

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.host.subnets import (
    Route,
    Wanted,
    check_proxies,
    check_subnets,
    destinations,
    lets_names_out,
    name_servers,
    neighbours,
    parse_routes,
    uplinks,
)

# 0.0.0.0/0 via eth0, 172.17.0.0/16 on docker0, as a little-endian kernel writes them.
TABLE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""
ROUTES = [Route("eth0", IPv4Network("0.0.0.0/0")), Route("docker0", IPv4Network("172.17.0.0/16"))]


def wanted(subnet: str, bridge: str = "atl-open") -> Wanted:
    return Wanted(subnet, bridge, f"{bridge}_subnet")


@pytest.mark.skipif(sys.byteorder == "big", reason="the table is a little-endian one")
def test_the_kernels_table_is_read() -> None:
    assert parse_routes(TABLE) == ROUTES


def test_default_routes_are_the_way_out() -> None:
    assert uplinks(ROUTES) == ["eth0"]


def test_what_lies_behind_them_is_the_site() -> None:
    routes = [Route("eth0", IPv4Network(network)) for network in ("0.0.0.0/0", "203.0.113.0/24", "192.0.2.1/32")]
    assert neighbours([*routes, Route("atl-open", IPv4Network("172.28.0.0/16"))]) == ["192.0.2.1/32", "203.0.113.0/24"]
    assert neighbours(routes[1:]) == []


def test_a_free_range_is_fine_and_so_is_the_one_of_an_earlier_run() -> None:
    with does_not_raise():
        check_subnets([wanted("172.28.0.0/16")], ROUTES)
        check_subnets([wanted("172.28.0.0/16")], [*ROUTES, Route("atl-open", IPv4Network("172.28.0.0/16"))])


@pytest.mark.parametrize("subnet", ["172.17.5.0/24", "172.16.0.0/12"])
def test_a_used_range_is_refused(subnet: str) -> None:
    with pytest.raises(AtelierError, match="which docker0 carries") as caught:
        check_subnets([wanted(subnet)], ROUTES)
    assert caught.value.code == Code.VALIDATION_ERROR
    assert caught.value.details["field"] == "atl-open_subnet"


def test_two_wanted_ranges_must_not_overlap() -> None:
    with pytest.raises(AtelierError, match="the value of atl-open_subnet"):
        check_subnets([wanted("172.28.0.0/16"), wanted("172.28.1.0/24", "atl-logging")], ROUTES)


@pytest.mark.parametrize("subnet", ["172.28.0.1/16", "172.28.0.0/33", "hello", ""])
def test_what_is_no_range_is_refused(subnet: str) -> None:
    with pytest.raises(AtelierError, match="is not an IPv4 range"):
        check_subnets([wanted(subnet)], ROUTES)


def test_name_servers_outside_the_host() -> None:
    stub = "# by a program\nnameserver 127.0.0.53\noptions edns0\n"
    real = "nameserver 169.254.169.254\nnameserver 10.0.0.2\nnameserver fd00::1\nnameserver\n"
    assert name_servers(stub, real) == ["10.0.0.2", "169.254.169.254"]
    assert name_servers("") == []


def test_a_trusted_proxy_is_an_address_and_never_a_seats() -> None:
    seats = ["172.28.0.0/16", "172.29.0.0/16"]
    check_proxies(["192.0.2.7", "192.0.2.0/24", "2001:db8::7", "127.0.0.1", "::1"], seats)
    for proxy in (
        "172.28.4.5",
        "172.16.0.0/12",
        "0.0.0.0/0",
        "::/0",
        "::ffff:172.29.0.9",
        "proxy.example",
        "1.2.3.4/33",
    ):
        with pytest.raises(AtelierError) as refused:
            check_proxies(["192.0.2.7", proxy], seats)
        assert refused.value.code is Code.VALIDATION_ERROR
        assert refused.value.details["field"] == "atelier_trusted_proxies"


def test_internal_destinations_are_networks_by_version() -> None:
    found = destinations(["10.1.2.3", "10.1.0.0/16", "fd00:1::/32"])
    assert (found["ipv4"], found["ipv6"]) == (["10.1.2.3/32", "10.1.0.0/16"], ["fd00:1::/32"])
    for wrong in ("mirror.example.org", "10.1.2.3/8", "10.0.0.0/8 } accept; #", ""):
        with pytest.raises(AtelierError) as caught:
            destinations([wrong])
        assert caught.value.details["field"] == "atelier_network_internal_destinations"


@pytest.mark.parametrize(
    ("version", "lets_out"),
    [
        *(("20.10.24+dfsg1", True), ("23.0.10", True), ("24.0.9", True), ("25.0.4", True)),
        *(("23.0.11", False), ("25.0.5", False), ("26.0.0", False), ("26.1.5+dfsg1", False), ("29.0.1", False)),
        *(("master", False), ("", False)),
    ],
)
def test_engines_that_let_names_out_of_closed_networks(version: str, lets_out: bool) -> None:
    assert lets_names_out(version) is lets_out
