"""Samples CPU and memory of running seats and the host in the background, so that no request waits for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil
from atelier.common.errors import AtelierError
from atelier.engine.client import DockerEngine
from atelier.engine.interface import ContainerStats, Engine

from .docker_events import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Usage:
    """CPU as a share of one core (0.5 is half a core), memory in bytes."""

    cpu: float
    memory: int


class Sampler(threading.Thread):
    """A thread; ``usage`` is by workspace id, ``host_cpu`` the cores in use."""

    def __init__(self, engine_url: str, watcher: Watcher) -> None:
        super().__init__(name="sampler", daemon=True)
        self._engine_url = engine_url
        self._watcher = watcher
        self._stopped = threading.Event()  # not _stop, which is the thread's own
        self._cpu_before: dict[str, tuple[float, float]] = {}
        self.cores = psutil.cpu_count() or 1
        self.usage: Mapping[str, Usage] = {}
        self.host_cpu = 0.0

    def run(self) -> None:
        engine: DockerEngine | None = None
        psutil.cpu_percent()  # counts from here on, in this thread
        while not self._stopped.wait(_EVERY_SECONDS):
            self.host_cpu = self.cores * psutil.cpu_percent() / 100  # since the call before
            if not self._watcher.available:
                continue
            try:
                engine = engine or DockerEngine(self._engine_url, patience=_PATIENCE_SECONDS)
                self._sample_seats(engine)
            except AtelierError as error:
                log.warning("no figures of the seats: %s", error)
                engine = None
            except Exception:  # the boundary: a sample that fails must not be the last one
                log.exception("no figures of the seats")
                engine = None

    def stop(self) -> None:
        self._stopped.set()

    def _sample_seats(self, engine: Engine) -> None:
        usage: dict[str, Usage] = {}
        for workspace_id, container in list(self._watcher.seen.items()):
            if container.status == "running" and (stats := engine.stats(container.id)):
                usage[workspace_id] = self._usage(workspace_id, stats)
        self._cpu_before = {id: before for id, before in self._cpu_before.items() if id in usage}
        self.usage = usage

    def _usage(self, workspace_id: str, stats: ContainerStats) -> Usage:
        moment = time.monotonic()
        cpu_before, moment_before = self._cpu_before.get(workspace_id, (stats.cpu, moment - 1))
        self._cpu_before[workspace_id] = stats.cpu, moment
        cpu = max(stats.cpu - cpu_before, 0) / max(moment - moment_before, 0.001)
        return Usage(cpu, stats.memory)
