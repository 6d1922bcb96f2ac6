"""Finds the process that listens on a TCP port of this host, from /proc, so that an error can name it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it
_PROC = Path("/proc")
# 127.x.y.z and ::1, in the byte order of the machines that Docker runs on.
_LOOPBACK = ("7F", "00000000000000000000000001000000")
_PORT = re.compile("[0-9A-F]{4}")
_DOCKERS_DNS = "0B00007F"  # 127.0.0.11, which every container of a network that is not the default one has


def _listeners(table: str) -> Iterator[tuple[str, int, list[str]]]:
    """Address, port and all columns of each listening socket, in the text of /proc/net/tcp or tcp6 (proc(5))."""
    for columns in map(str.split, table.splitlines()):
        if len(columns) > 3 and columns[3] == _LISTEN:
            address, _, port = columns[1].rpartition(":")
            # A seat may have written anything into the table.
            if _PORT.fullmatch(port):
                yield address, int(port, 16), columns


def listening_inodes(table: str, port: int, addresses: Sequence[str] = ()) -> set[int]:
    """Inodes of the sockets that listen on ``port``, in the text of /proc/net/tcp or tcp6: on any address, or with
    ``addresses`` (IPv4) on those that would keep somebody from listening there."""
    # 127.0.0.1 is 0100007F where the lowest byte comes first.
    numbers = (int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder) for address in addresses)
    wanted = tuple(f"{number:08X}" for number in numbers)
    return {
        int(columns[9])
        for address, number, columns in _listeners(table)
        if number == port and len(columns) > 9 and (not wanted or not address.strip("0") or address.endswith(wanted))
    }


def listening_ports(table: str) -> dict[int, bool]:
    """Ports that something listens on, in the text of /proc/net/tcp or tcp6, and whether others than the machine itself
    reach it. Docker's own name server is no program of the machine's."""
    found: dict[int, bool] = {}
    for address, port, _ in _listeners(table):
        if port and address != _DOCKERS_DNS:
            found[port] = found.get(port, False) or not address.endswith(_LOOPBACK)
    return found


def holders(
    port: int, own_containers: Sequence[str] = (), proc: Path = _PROC, addresses: Sequence[str] = ()
) -> list[str]:
    """The processes that listen on ``port`` (of ``addresses``, as in listening_inodes), without those of the containers
    with these ids: names with process ids, or one message if none is visible, as in another container."""
    inodes: set[int] = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no tcp6 where IPv6 is off
            inodes |= listening_inodes((proc / table).read_text(encoding="ascii"), port, addresses)
    if not inodes:
        return []
    found: dict[int, str] = {}
    own = False
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        # Processes come and go while we look.
        with contextlib.suppress(OSError):
            if inodes.isdisjoint(_socket_inodes(process)):
                continue
            group = (process / "cgroup").read_text(encoding="utf-8") if own_containers else ""
            if any(container in group for container in own_containers):
                own = True
                continue
            name = (process / "comm").read_text(encoding="utf-8").strip()
            found[int(process.name)] = f"{name} (pid {process.name})"
    return [found[pid] for pid in sorted(found)] if found or own else [Message("port.unseen")]


def require_free(port: int, field: str, holders: Sequence[str]) -> None:
    """Raises PORT_IN_USE, naming the holders and ``field``, the setting to change; VALIDATION_ERROR for no TCP port."""
    if not 1 <= port <= 65535:
        raise invalid("port.no_number", field, port=port)
    if holders:
        names = holders[0] if len(holders) == 1 else ", ".join(holders)
        taken = Message("port.taken", port=port, field=field, holders=names, other=8080 if port < 1024 else port + 1)
        raise AtelierError(Code.PORT_IN_USE, taken, field=field, port=port, holders=names)


def _socket_inodes(process: Path) -> set[int]:
    """The inodes of a process's open sockets. Raises OSError when it has ended."""
    inodes = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            if match:
                inodes.add(int(match[1]))
    return inodes
