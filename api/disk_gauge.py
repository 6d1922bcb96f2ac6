"""What the files of seats take, and what is free on the disk that they share."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import docker
import requests
from atelier.container_limits import CPU_SHARES
from atelier.disk_limits import LONGEST_WALK_SECONDS

log = logging.getLogger(__name__)

# Docker walks through a seat's files: 100,000 take about a second. A seat that takes too long is measured less often.
_REST_SECONDS = 300.0
_AT_ONCE = 2
_INODES_SHARE = 0.02
_GONE = (docker.errors.DockerException, requests.exceptions.RequestException)


@dataclass(frozen=True)
class Space:
    """Of Docker's disk, in bytes."""

    free: int
    total: int
    inodes_short: bool

    def is_short(self, reserve: int) -> bool:
        """Whether less than the reserve is free, or less than a tenth where that is less; 0 is no reserve."""
        return bool(reserve) and (self.free < min(reserve, self.total // 10) or self.inodes_short)


def space() -> Space:
    """Cheap: the root of the API's own container is on the disk that the seats' files are on, and has its figures."""
    found = os.statvfs("/")
    short = found.f_files > 0 and found.f_favail < found.f_files * _INODES_SHARE
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, short)


@dataclass(frozen=True)
class Figures:
    """Of one seat. ``pending``: bytes that wait to be written; ``written``: bytes since it was started."""

    used: int
    walk_seconds: float
    pending: int = 0
    written: int = 0


class DiskGauge:
    """``sizes`` is by workspace id, as last measured."""

    def __init__(self, engine_url: str) -> None:
        self._engine_url = engine_url
        self._resting: dict[str, float] = {}
        self.sizes: Mapping[str, int] = {}

    def measure(self, containers: Mapping[str, str], *, with_writes: bool) -> dict[str, Figures]:
        """By workspace id, for containers by workspace id. A seat that can't be measured has the size it had before."""
        with self._engine() as api, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="disk") as pool:
            measured = pool.map(lambda id: self._measure(api, id, containers[id], with_writes), containers)
            found = dict(zip(containers, measured, strict=True))
        self.sizes = {id: figures.used for id, figures in found.items()}
        self._resting = {id: until for id, until in self._resting.items() if until > time.monotonic()}
        return found

    def _measure(self, api: docker.APIClient, id: str, container: str, with_writes: bool) -> Figures:
        pending, written = _writes(api, container) if with_writes else (0, 0)
        begun = time.monotonic()
        if begun < self._resting.get(id, 0.0):
            return Figures(self.sizes.get(id, 0), LONGEST_WALK_SECONDS, pending, written)
        try:
            listed = api.containers(size=True, filters={"id": container})
        except _GONE as error:
            self._resting[id] = begun + _REST_SECONDS
            log.warning("the files of %s could not be measured: %s", id, type(error).__name__)
            return Figures(self.sizes.get(id, 0), LONGEST_WALK_SECONDS, pending, written)
        used = int(listed[0].get("SizeRw") or 0) if listed else 0
        return Figures(used, time.monotonic() - begun, pending, written)

    def kill(self, container: str) -> None:
        """Ends all its processes at once; one that does not run is fine."""
        with self._engine() as api, suppress(docker.errors.APIError):
            api.kill(container)

    def renew_shares(self, containers: Sequence[str]) -> None:
        """Gives containers of an earlier version the CPU shares of new ones, while they run or not."""
        with self._engine() as api:
            for container in containers:
                with suppress(docker.errors.APIError):
                    api.update_container(container, cpu_shares=CPU_SHARES)

    @contextmanager
    def _engine(self) -> Iterator[docker.APIClient]:
        with closing(docker.APIClient(base_url=self._engine_url, version="auto", timeout=LONGEST_WALK_SECONDS)) as api:
            yield api


def _writes(api: docker.APIClient, container: str) -> tuple[int, int]:
    try:
        figures: dict[str, Any] = api.stats(container, stream=False, one_shot=True)
    except _GONE:
        return 0, 0
    return writes_in(figures)


def writes_in(figures: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that wait to be written and bytes that were, by a container's statistics. Control groups v1 count
    only what programs write directly or wait for."""
    known = (figures.get("memory_stats") or {}).get("stats") or {}
    names = ("total_dirty", "total_writeback") if "total_dirty" in known else ("file_dirty", "file_writeback")
    operations = (figures.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    written = sum(int(entry["value"]) for entry in operations if str(entry.get("op")).lower() == "write")
    return sum(int(known.get(name, 0)) for name in names), written
