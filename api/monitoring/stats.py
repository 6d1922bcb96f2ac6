"""Samples CPU and memory of running seats and the host in the background, so that no request waits for them."""

from __future__ import annotations

import logging
import threading
import time
from collections import ChainMap, Counter
from collections.abc import Mapping
from dataclasses import dataclass

import psutil
from atelier.common.errors import AtelierError
from atelier.common.models import CONTROLLER, Site
from atelier.containers.engines import open_engine
from atelier.engine.client import DockerEngine
from atelier.engine.interface import ContainerStats, Engine
from atelier.engine.machine import Memory, connections_at, machine_memory_at

from .connections import connections, connections_in
from .disk_gauge import Space, space, space_at
from .docker_events import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
# Seats that are sampled within a second, on all machines together: each takes this process a millisecond.
_MOST_A_SECOND = 100
# Between two looks at a node's disk and connections. A seat must not fill the disk meanwhile.
_LOOK_SECONDS = 10.0
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Usage:
    """CPU as a share of one core (0.5 is half a core), memory in bytes."""

    cpu: float
    memory: int


class Sampler:
    """``usage`` is by workspace id, ``host_cpu`` the controller's cores in use. One thread a machine, so that one which
    does not answer delays nobody's figures."""

    def __init__(self, site: Site, watcher: Watcher) -> None:
        self.cores = psutil.cpu_count() or 1
        self.host_cpu = 0.0
        self._threads = {node: _Thread(self, site, watcher, node) for node in site.node_names}

    def disk(self, node: str) -> Space | None:
        """Of Docker's disk on the machine, some seconds old; None for one that was not measured."""
        return space() if node == CONTROLLER else self._threads[node].space

    def connections(self, node: str) -> Counter[str] | None:
        """How many connections the machine has open to each seat's address, some seconds ago; None for one that did not
        tell."""
        if node == CONTROLLER:
            return connections()
        return self._threads[node].connections if node in self._threads else None

    @property
    def usage(self) -> Mapping[str, Usage]:
        return ChainMap(*(thread.usage for thread in self._threads.values()))

    def machine_memory(self, node: str) -> Memory | None:
        """Of the machine, some seconds old; None for one that was not measured."""
        if node != CONTROLLER:
            return self._threads[node].machine_memory
        found = psutil.virtual_memory()
        return Memory(found.available, found.total)

    def memory(self, node: str) -> int:
        """Bytes that the machine's seats used at the last sample."""
        return sum(usage.memory for usage in self._threads[node].usage.values())

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        for thread in self._threads.values():
            thread.stopped.set()


class _Thread(threading.Thread):
    """Samples the seats of one machine, and on the controller the machine itself."""

    def __init__(self, sampler: Sampler, site: Site, watcher: Watcher, node: str) -> None:
        super().__init__(name=f"sampler-{node}", daemon=True)
        self._sampler = sampler
        self._site = site
        self._watcher = watcher
        self._node = node
        self._cpu_before: dict[str, tuple[float, float]] = {}
        self._look_due = 0.0
        self.stopped = threading.Event()  # not _stop, which is the thread's own
        self.usage: dict[str, Usage] = {}
        self.space: Space | None = None
        self.machine_memory: Memory | None = None
        self.connections: Counter[str] | None = None

    def run(self) -> None:
        engine: DockerEngine | None = None
        psutil.cpu_percent()  # counts from here on, in this thread
        while not self.stopped.wait(max(_EVERY_SECONDS, len(self._watcher.seen) / _MOST_A_SECOND)):
            if self._node == CONTROLLER:
                self._sampler.host_cpu = self._sampler.cores * psutil.cpu_percent() / 100  # since the call before
            if not self._watcher.answers(self._node):
                self.connections = None
                continue
            try:
                engine = engine or open_engine(self._site, self._node, patience=_PATIENCE_SECONDS)
                self._sample_seats(engine)
                self._look(engine)
            except AtelierError as error:
                log.warning("no figures of the seats on %s: %s", self._node, error)
                engine = None
            except Exception:  # the boundary: a sample that fails must not be the last one
                log.exception("no figures of the seats on %s", self._node)
                engine = None

    def _sample_seats(self, engine: Engine) -> None:
        usage: dict[str, Usage] = {}
        for workspace_id, container in self._watcher.seen_at(self._node).items():
            if container.status == "running" and (stats := engine.stats(container.id)):
                usage[workspace_id] = self._usage(workspace_id, stats)
        self._cpu_before = {id: before for id, before in self._cpu_before.items() if id in usage}
        self.usage = usage

    def _look(self, engine: Engine) -> None:
        if self._node == CONTROLLER or time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _LOOK_SECONDS
        self.connections = None
        self.space = space_at(engine, self._site.instance)
        self.machine_memory = machine_memory_at(engine, self._site.instance)
        self.connections = connections_in(connections_at(engine, self._site.instance))

    def _usage(self, workspace_id: str, stats: ContainerStats) -> Usage:
        moment = time.monotonic()
        cpu_before, moment_before = self._cpu_before.get(workspace_id, (stats.cpu, moment - 1))
        self._cpu_before[workspace_id] = stats.cpu, moment
        cpu = max(stats.cpu - cpu_before, 0) / max(moment - moment_before, 0.001)
        return Usage(cpu, stats.memory)
