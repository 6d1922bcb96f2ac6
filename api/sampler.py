"""CPU and memory of running seats and of the host, sampled in the background: no request waits for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker
import psutil
import requests
from atelier.docker_answers import memory_in

from .watcher import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0


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
        self._cpu_before: dict[str, tuple[int, float]] = {}
        self.cores = psutil.cpu_count() or 1
        self.usage: Mapping[str, Usage] = {}
        self.host_cpu = 0.0

    def run(self) -> None:
        api: docker.APIClient | None = None
        while not self._stopped.wait(_EVERY_SECONDS):
            self.host_cpu = self.cores * psutil.cpu_percent() / 100  # since the call before
            if not self._watcher.available:
                continue
            try:
                api = api or docker.APIClient(base_url=self._engine_url, version="auto", timeout=30)
                self._sample_seats(api)
            except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                log.warning("no figures of the seats: %s", error)
                api = None
            except Exception:  # the boundary: a sample that fails must not be the last one
                log.exception("no figures of the seats")
                api = None

    def stop(self) -> None:
        self._stopped.set()

    def _sample_seats(self, api: docker.APIClient) -> None:
        usage: dict[str, Usage] = {}
        for workspace_id, seen in list(self._watcher.seen.items()):
            if seen.container.status != "running":
                continue
            try:
                figures: dict[str, Any] = api.stats(seen.container.id, stream=False, one_shot=True)
            except docker.errors.NotFound:
                continue
            if "cpu_stats" not in figures:  # it ended meanwhile
                continue
            usage[workspace_id] = self._usage(workspace_id, figures)
        self._cpu_before = {id: before for id, before in self._cpu_before.items() if id in usage}
        self.usage = usage

    def _usage(self, workspace_id: str, figures: Mapping[str, Any]) -> Usage:
        used, moment = int(figures["cpu_stats"]["cpu_usage"]["total_usage"]), time.monotonic()
        used_before, moment_before = self._cpu_before.get(workspace_id, (used, moment - 1))
        self._cpu_before[workspace_id] = used, moment
        cpu = max(used - used_before, 0) / 1e9 / max(moment - moment_before, 0.001)
        return Usage(cpu, memory_in(figures))
