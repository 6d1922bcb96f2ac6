"""Outgoing connections of a seat: the internet, not the site's own network; no name look-ups in closed modes."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from .conftest import Platform, Seats

DEVICE = "atl-hst-site"
# One of each range that is not the internet, none of which this machine uses.
PRIVATE = ["10.253.77.1", "100.127.77.1", "172.31.253.77", "192.0.0.77", "192.168.253.77", "198.19.77.1", "240.77.0.1"]
PUBLIC = "203.0.113.77"


# Of linux/if_tun.h: a device whose packets a program reads, IP without a frame around it.
_SET_DEVICE, _TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000


@contextmanager
def site_network() -> Iterator[Callable[[], set[str]]]:
    """A network interface behind which the addresses would be; yields what tells where packets were sent to since."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _SET_DEVICE, struct.pack("16sH22x", DEVICE.encode(), _TUN | _NO_HEADER))
        ip("link", "set", DEVICE, "up")
        for address in (*PRIVATE, PUBLIC):
            ip("route", "add", f"{address}/32", "dev", DEVICE)

        def destinations() -> set[str]:
            found = set()
            while select.select([device], [], [], 1)[0]:
                packet = os.read(device, 4096)
                if packet[0] >> 4 == 4:
                    found.add(str(IPv4Address(packet[16:20])))
            return found & {PUBLIC, *PRIVATE}

        yield destinations
    finally:
        os.close(device)  # the device goes with it


def test_a_seat_does_not_reach_the_site_s_own_network(platform: Platform, seat: Seats) -> None:
    stranger = seat()
    with site_network() as destinations:
        for address in (PUBLIC, *PRIVATE):
            stranger.try_run(
                f"(timeout 1 bash -c 'echo >/dev/tcp/{address}/80'; echo x >/dev/udp/{address}/53) 2>/dev/null"
            )
        assert destinations() == {PUBLIC}


def test_a_seat_does_not_reach_this_machine_s_neighbours(platform: Platform, seat: Seats) -> None:
    """The machine's own network, whatever its range is: its router answers everybody else."""
    routes = subprocess.run(["ip", "-4", "route", "show", "default"], capture_output=True, text=True, check=True).stdout
    words = routes.split()
    if "via" not in words:
        pytest.skip("this machine has no router")
    router = words[words.index("via") + 1]
    ping = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
one.settimeout(2)
one.sendto(b"\\x08\\0\\xf7\\xfe\\0\\1\\0\\0", (sys.argv[1], 0))
print(one.recvfrom(100))
"""
    stranger = seat()
    assert stranger.try_run(f"python3 -c '{ping}' {router}").returncode != 0
    assert stranger.try_run(f"timeout 3 bash -c 'echo >/dev/tcp/{router}/80'").returncode == 124


@pytest.mark.parametrize("mode", ["security", "logging"])
def test_no_name_leaves_a_closed_seat(platform: Platform, seat: Seats, mode: str) -> None:
    """Neither by Docker's name server nor by another one; the git server's name needs none."""
    stranger = seat(proxyMode=mode)
    asked = stranger.try_run("timeout 20 getent hosts canary-name.test.example.com")
    assert asked.returncode != 0 and asked.stdout == ""
    assert "git.internal" in stranger.run("getent hosts git.internal")
    with site_network() as destinations:
        for address in (PUBLIC, *PRIVATE):
            stranger.try_run(f"echo x >/dev/udp/{address}/53; timeout 1 bash -c 'echo >/dev/tcp/{address}/80'")
        assert destinations() == set()
