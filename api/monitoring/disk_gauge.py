"""Measures the disk use of seats, and the free space of their disks."""

from __future__ import annotations

import logging
import os
import time
from collections import ChainMap
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass

from atelier.common.errors import AtelierError
from atelier.common.models import Site
from atelier.containers.engines import Engines
from atelier.engine.client import Engine
from atelier.engine.machine import Disk
from atelier.engine.models import Container
from atelier.workspaces.disk_limits import LONGEST_WALK_SECONDS
from atelier.workspaces.side_by_side import DOWN

log = logging.getLogger(__name__)

# Docker walks through a seat's files: 100,000 take about a second. A seat that takes too long is measured less often.
_REST_SECONDS = 300.0
_AT_ONCE = 2


def own_disk() -> Disk:
    """Cheap: the root of the API's own container is on the disk that the seats' files are on, and has its figures."""
    found = os.statvfs("/")
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)


@dataclass(frozen=True)
class Figures:
    """Figures of one seat. ``pending``: bytes that wait to be written; ``written``: bytes since it was started."""

    used: int
    walk_seconds: float
    pending: int = 0
    written: int = 0


class DiskGauge:
    """Thread-safe, as long as each machine is measured by one thread at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._resting: dict[str, float] = {}
        self._sizes: dict[str, Mapping[str, int]] = {node: {} for node in site.node_names}

    @property
    def sizes(self) -> Mapping[str, int]:
        """The last measured sizes in bytes, by workspace id."""
        return ChainMap(*(dict(sizes) for sizes in self._sizes.values()))

    def measure(self, node: str, containers: Mapping[str, str], *, with_writes: bool) -> dict[str, Figures]:
        """Sizes by workspace id, of containers on one machine. A seat that cannot be measured keeps its last size."""
        before = self._sizes[node]
        with closing(self._engines()) as engines, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="disk") as pool:
            measured = pool.map(
                lambda id: self._measure(engines, node, id, containers[id], before.get(id, 0), with_writes), containers
            )
            found = dict(zip(containers, measured, strict=True))
        self._sizes[node] = {id: figures.used for id, figures in found.items()}
        for id, until in list(self._resting.items()):
            if until <= time.monotonic():
                self._resting.pop(id, None)
        return found

    def _measure(self, engines: Engines, node: str, id: str, container: str, before: int, with_writes: bool) -> Figures:
        try:
            engine = engines.of(node)
        except AtelierError:  # the watcher reports it
            return Figures(before, LONGEST_WALK_SECONDS)
        pending, written = _writes(engine, container) if with_writes else (0, 0)
        begun = time.monotonic()
        if begun < self._resting.get(id, 0.0):
            return Figures(before, LONGEST_WALK_SECONDS, pending, written)
        try:
            used = engine.written(container)
            if _is_gone(engine, container):
                used = 0
        except AtelierError as error:
            if _is_gone(engine, container):
                return Figures(0, time.monotonic() - begun, pending, written)
            self._resting[id] = begun + _REST_SECONDS
            log.warning("the files of %s could not be measured: %s", id, error)
            return Figures(before, LONGEST_WALK_SECONDS, pending, written)
        return Figures(used, time.monotonic() - begun, pending, written)

    def kill(self, node: str, container: str) -> None:
        """Ends all its processes at once; one that does not run is fine."""
        with closing(self._engines()) as engines:
            engines.of(node).kill(container)

    def renew_shares(self, node: str, containers: Iterable[Container]) -> None:
        """Gives containers of an earlier version the CPU shares of new ones, while they run or not."""
        with closing(self._engines()) as engines:
            for container in containers:
                with suppress(AtelierError):
                    engines.of(node).update_limits(container.id, container.memory, container.cpus)

    def _engines(self) -> Engines:
        return Engines(self._site, patience=LONGEST_WALK_SECONDS)


def _is_gone(engine: Engine, container: str) -> bool:
    """Whether it was removed, stopped or replaced while it was measured. Docker's answer with the size has the state of
    before."""
    with suppress(AtelierError):
        found = engine.inspect(container)
        return found is None or found.status in DOWN
    return False


def _writes(engine: Engine, container: str) -> tuple[int, int]:
    with suppress(AtelierError):
        if stats := engine.stats(container):
            return stats.pending, stats.written
    return 0, 0
