"""Free resources and connections of a node. They are read in its gateway's container, which sees the machine's memory,
network and Docker disk, and which no seat can change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import CONTROLLER
from .client import Engine

_DF = ("/bin/df", "--block-size=1", "--output=avail,size,iavail,itotal", "/")
_SECONDS = 10.0
_INODES_SHARE = 0.02
# 150 bytes a connection.
_MOST_CONNECTIONS = 16 * 1024**2


@dataclass(frozen=True)
class Disk:
    """Bytes and inodes; no inodes of a file system that makes them as it needs them."""

    free: int
    total: int
    inodes_free: int = 0
    inodes: int = 0

    @property
    def inodes_short(self) -> bool:
        return self.inodes_free < self.inodes * _INODES_SHARE

    def is_short(self, reserve: int) -> bool:
        """Whether less than the reserve is free; 0 is no reserve."""
        return bool(reserve) and (self.free < self.reserve(reserve) or self.inodes_short)

    def reserve(self, wanted: int) -> int:
        """The bytes that should stay free: a tenth of the disk where that is less than is wanted."""
        return min(wanted, self.total // 10)


@dataclass(frozen=True)
class Memory:
    """Memory in bytes. ``available``: memory that programs can still allocate."""

    available: int
    total: int


def disk_at(engine: Engine, instance: str) -> Disk | None:
    """Docker's disk; None if the gateway does not answer."""
    with suppress(AtelierError, ValueError, IndexError):
        _, output = _execute(engine, instance, _DF)
        free, total, inodes_free, inodes = map(int, output.splitlines()[-1].split())
        return Disk(free, total, inodes_free, inodes)
    return None


def free_on(engine: Engine, node: str, instance: str) -> int | None:
    """The free bytes of Docker's disk on a machine; None if a node's gateway does not answer."""
    if node == CONTROLLER:
        return engine.free_space()
    disk = disk_at(engine, instance)
    return disk.free if disk else None


def memory_at(engine: Engine, instance: str) -> Memory | None:
    """The machine's memory; None if the gateway does not answer."""
    with suppress(AtelierError, ValueError, KeyError, IndexError):
        return parse_memory(_execute(engine, instance, ("/bin/cat", "/proc/meminfo"))[1])
    return None


def connections_at(engine: Engine, instance: str) -> str:
    """The machine's open connections in the format of /proc/net/tcp. Raises ENGINE_ERROR if they cannot be read, and
    the engine's errors."""
    code, table = _execute(engine, instance, ("/bin/cat", "/proc/net/tcp"), _MOST_CONNECTIONS)
    # The table has a heading. Docker on a busy machine may lose a program's output, and then nobody seems connected.
    if code != 0 or not table:
        raise AtelierError(Code.ENGINE_ERROR, Message("docker.no_connections", code=code, said=table[-400:]))
    return table


def parse_memory(meminfo: str) -> Memory:
    """The figures of a /proc/meminfo."""
    figures = dict(line.split(":", 1) for line in meminfo.splitlines())
    available, total = (int(figures[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    return Memory(available, total)


def _execute(engine: Engine, instance: str, command: Sequence[str], limit: int = 8192) -> tuple[int, str]:
    return engine.execute(f"{instance}-node-gateway", command, seconds=_SECONDS, limit=limit)
