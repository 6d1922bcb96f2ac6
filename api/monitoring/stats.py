"""Samples CPU and memory of running seats and the host in the background, so that no request waits for them."""

from __future__ import annotations

import ipaddress
import logging
import struct
import threading
import time
from abc import abstractmethod
from collections import ChainMap, Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from atelier.common.errors import AtelierError
from atelier.common.models import CONTROLLER, Site
from atelier.containers.engines import open_engine
from atelier.engine.client import Engine
from atelier.engine.machine import Disk, Memory, connections_at, disk_at, memory_at
from atelier.engine.models import ContainerStats

from .disk_gauge import own_disk
from .docker_events import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
# Maximum samples per second, on all machines together: each takes 1 ms of this process.
_MOST_A_SECOND = 100
# Interval for a node's disk and connections, short enough that no seat can fill the disk in between.
_LOOK_SECONDS = 10.0
# Older disk figures are discarded.
_OLDEST_SECONDS = 60.0
_PATIENCE_SECONDS = 30
_ESTABLISHED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h, as /proc/net/tcp writes it


@dataclass(frozen=True)
class Usage:
    """CPU as a share of one core (0.5 is half a core), memory in bytes."""

    cpu: float
    memory: int


class Sampler:
    """Measures seats and machines. ``usage`` is by workspace id. Each machine's seats have a thread and each node has
    another, so that a machine or a seat that does not answer delays no other figures. The machines' seats are sampled
    one machine after the other: all at once would keep requests waiting for seconds."""

    def __init__(self, site: Site, watcher: Watcher) -> None:
        self.cores = psutil.cpu_count() or 1
        names = site.node_names
        self._seats = {node: _Seats(site, watcher, node, place / len(names)) for place, node in enumerate(names)}
        self._nodes = {node.name: _Node(site, watcher, node.name) for node in site.nodes}

    @property
    def host_cpu(self) -> float:
        """CPU cores in use on the controller."""
        return self.cores * self._seats[CONTROLLER].host_share

    def disk(self, node: str) -> Disk | None:
        """The machine's Docker disk, some seconds old; None if it was not measured within a minute."""
        return own_disk() if node == CONTROLLER else self._nodes[node].disk

    def connections(self, node: str) -> Counter[str] | None:
        """Open connections from the machine to each seat's address, some seconds old; None if unknown."""
        if node == CONTROLLER:
            return connections_in(Path("/proc/net/tcp").read_text())
        return self._nodes[node].connections if node in self._nodes else None

    @property
    def usage(self) -> Mapping[str, Usage]:
        return ChainMap(*(thread.usage for thread in self._seats.values()))

    def machine_memory(self, node: str) -> Memory | None:
        """The machine's memory, some seconds old; None if it was not measured."""
        if node != CONTROLLER:
            return self._nodes[node].memory
        found = psutil.virtual_memory()
        return Memory(found.available, found.total)

    def memory(self, node: str) -> int:
        """Bytes of memory that the machine's seats used at the last sample."""
        return sum(usage.memory for usage in self._seats[node].usage.values())

    def start(self) -> None:
        for thread in (*self._seats.values(), *self._nodes.values()):
            thread.start()

    def stop(self) -> None:
        for thread in (*self._seats.values(), *self._nodes.values()):
            thread.stopped.set()


class _Thread(threading.Thread):
    """Polls one machine's engine over its own connection."""

    def __init__(self, site: Site, watcher: Watcher, node: str) -> None:
        super().__init__(name=f"{type(self).__name__}-{node}", daemon=True)
        self._site = site
        self._watcher = watcher
        self._node = node
        self.stopped = threading.Event()  # not _stop, which is the thread's own

    def run(self) -> None:
        engine: Engine | None = None
        while self.wait():
            try:
                if self._watcher.answers(self._node):
                    engine = engine or open_engine(self._site, self._node, patience=_PATIENCE_SECONDS)
                    self.ask(engine)
                    continue
            except AtelierError as error:
                log.warning("no figures of %s: %s", self._node, error)
            except Exception:  # the boundary: a sample that fails must not be the last one
                log.exception("no figures of %s", self._node)
            self.lose()
            engine = None

    @abstractmethod
    def wait(self) -> bool:
        """Waits for the next sample; returns False when the thread is stopped."""

    @abstractmethod
    def ask(self, engine: Engine) -> None: ...

    def lose(self) -> None:
        """Discards figures that are outdated because the machine did not answer."""


class _Seats(_Thread):
    """Samples the seats of one machine, and on the controller the share of the machine's cores in use. ``place`` is the
    machine's turn in each round, as a share of the round."""

    def __init__(self, site: Site, watcher: Watcher, node: str, place: float) -> None:
        super().__init__(site, watcher, node)
        self._place = place
        self._cpu_before: dict[str, tuple[float, float]] = {}
        self.usage: dict[str, Usage] = {}
        self.host_share = 0.0

    def run(self) -> None:
        psutil.cpu_percent()  # counts from here on, in this thread
        super().run()

    def wait(self) -> bool:
        whole = max(_EVERY_SECONDS, len(self._watcher.seen) / _MOST_A_SECOND)
        ended = self.stopped.wait(whole - (time.monotonic() - self._place * whole) % whole)
        if self._node == CONTROLLER:
            self.host_share = psutil.cpu_percent() / 100  # since the call before
        return not ended

    def ask(self, engine: Engine) -> None:
        usage: dict[str, Usage] = {}
        for workspace_id, container in self._watcher.seen_at(self._node).items():
            if container.status != "running" or not self._watcher.answers(self._node):
                continue
            try:
                stats = engine.stats(container.id)
            except AtelierError as error:
                log.warning("no figures of %s on %s: %s", workspace_id, self._node, error)
                continue
            if stats:
                usage[workspace_id] = self._usage(workspace_id, stats)
        self._cpu_before = {id: before for id, before in self._cpu_before.items() if id in usage}
        self.usage = usage

    def _usage(self, workspace_id: str, stats: ContainerStats) -> Usage:
        moment = time.monotonic()
        cpu_before, moment_before = self._cpu_before.get(workspace_id, (stats.cpu, moment - 1))
        self._cpu_before[workspace_id] = stats.cpu, moment
        cpu = max(stats.cpu - cpu_before, 0) / max(moment - moment_before, 0.001)
        return Usage(cpu, stats.memory)


class _Node(_Thread):
    """Samples a node's disk, memory and connections."""

    def __init__(self, site: Site, watcher: Watcher, node: str) -> None:
        super().__init__(site, watcher, node)
        self._measured: tuple[Disk | None, float] = None, 0.0
        self.memory: Memory | None = None
        self.connections: Counter[str] | None = None

    @property
    def disk(self) -> Disk | None:
        found, at = self._measured
        return found if time.monotonic() - at <= _OLDEST_SECONDS else None

    def wait(self) -> bool:
        # Poll more often while the connections are unknown.
        return not self.stopped.wait(_EVERY_SECONDS if self.connections is None else _LOOK_SECONDS)

    def ask(self, engine: Engine) -> None:
        self._measured = disk_at(engine, self._site.instance), time.monotonic()
        self.memory = memory_at(engine, self._site.instance)
        # Keep the old value meanwhile: this call takes its time.
        self.connections = connections_in(connections_at(engine, self._site.instance))

    def lose(self) -> None:
        self.connections = None


def connections_in(table: str) -> Counter[str]:
    """Open connections of a machine, its gateway's among them, by the address that they lead to: from the text of
    /proc/net/tcp (proc(5))."""
    found: Counter[str] = Counter()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED:
            # The address is the number in the machine's own byte order.
            packed = struct.pack("=I", int(fields[2].partition(":")[0], 16))
            found[str(ipaddress.IPv4Address(packed))] += 1
    return found
