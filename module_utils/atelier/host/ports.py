"""Finds the process that listens on a TCP port of this host, from /proc, so that an error can name it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message

LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it
PROC = Path("/proc")
# 127.x.y.z and ::1, in the byte order of the machines that Docker runs on.
_LOOPBACK = ("7F", "00000000000000000000000001000000")
_PORT = re.compile("[0-9A-F]{4}")
_DOCKERS_DNS = "0B00007F"  # 127.0.0.11, which every container of a network that is not the default one has


@dataclass(frozen=True)
class Holder:
    """A process that listens on the port. ``pid`` is None if it is not visible, as in another container."""

    pid: int | None
    name: str

    def __str__(self) -> str:
        return self.name if self.pid is None else f"{self.name} (pid {self.pid})"


def listening_inodes(table: str, port: int, addresses: Sequence[str] = ()) -> set[int]:
    """Inodes of the sockets that listen on ``port``, in the text of /proc/net/tcp or tcp6 (proc(5)): on any address, or
    with ``addresses`` (IPv4) on those that would keep somebody from listening there."""
    wanted = tuple(map(_as_proc_writes_it, addresses))
    inodes = set()
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 9 and columns[3] == LISTEN:
            address, _, number = columns[1].rpartition(":")
            if int(number, 16) == port and (not wanted or not address.strip("0") or address.endswith(wanted)):
                inodes.add(int(columns[9]))
    return inodes


def _as_proc_writes_it(address: str) -> str:
    """``127.0.0.1`` is 0100007F where the lowest byte comes first."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"


def listening_ports(table: str) -> dict[int, bool]:
    """Ports that something listens on, in the text of /proc/net/tcp or tcp6, and whether others than the machine itself
    reach it. Docker's own name server is no program of the machine's."""
    found: dict[int, bool] = {}
    for line in table.splitlines():
        columns = line.split()
        if len(columns) > 3 and columns[3] == LISTEN:
            address, _, port = columns[1].rpartition(":")
            if address == _DOCKERS_DNS:
                continue
            # A seat may have written anything into the table.
            number = int(port, 16) if _PORT.fullmatch(port) else 0
            if number:
                found[number] = found.get(number, False) or not address.endswith(_LOOPBACK)
    return found


def holders(
    port: int, own_containers: Sequence[str] = (), proc: Path = PROC, addresses: Sequence[str] = ()
) -> list[Holder]:
    """The processes that listen on ``port`` (of ``addresses``, as in listening_inodes), without those of the containers
    with these ids."""
    inodes: set[int] = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no tcp6 where IPv6 is off
            inodes |= listening_inodes((proc / table).read_text(encoding="ascii"), port, addresses)
    if not inodes:
        return []
    found = []
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
            found.append(Holder(int(process.name), (process / "comm").read_text(encoding="utf-8").strip()))
    if found or own:
        return sorted(found, key=lambda holder: holder.pid or 0)
    return [Holder(None, Message("port.unseen"))]


def require_free(port: int, field: str, holders: Iterable[Holder]) -> None:
    """Raises PORT_IN_USE, naming the holders and ``field``, the setting to change; VALIDATION_ERROR for no TCP port."""
    if not 1 <= port <= 65535:
        raise AtelierError(Code.VALIDATION_ERROR, Message("port.no_number", field=field, port=port), field=field)
    found = list(holders)
    if found:
        names = found[0].name if found[0].pid is None else ", ".join(map(str, found))
        other = 8080 if port < 1024 else port + 1
        raise AtelierError(
            Code.PORT_IN_USE,
            Message("port.taken", port=port, field=field, holders=names, other=other),
            field=field,
            port=port,
            holders=names,
        )


def _socket_inodes(process: Path) -> set[int]:
    """The inodes of a process's open sockets. Raises OSError when it has ended."""
    inodes = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            if match:
                inodes.add(int(match[1]))
    return inodes
