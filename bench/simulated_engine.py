"""Simulated Docker Engines: each call takes as long as a measured one through a node's gateway.

Fifty machines cannot be had for a bench. What is real here is Atelier: its threads, its database, its memory. What is
not is Docker, the network, and what seats do.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from atelier.common.models import CONTROLLER, GIB
from atelier.containers import engines
from atelier.engine.container_limits import CPU_SHARES
from atelier.engine.models import Container, ContainerStats, Event, Size, SwarmNode

from .host import INSTANCE

# The file with the containers: by machine, a list of (workspace id, container name).
PLAN = "ATELIER_SIMULATION"
MEMORY = 256 * GIB
# Measured through a node's gateway (docs/cluster.md): seconds until the answer, and how many of them the caller's
# processor works, which no other thread can have.
_INSPECT = (0.0027, 0.0011)
_STATS = (0.0057, 0.0015)
_LIST = (0.0026, 0.0013)
# More of each container that is listed.
_LISTED = (0.0001, 0.00005)
_WRITTEN = (0.02, 0.0011)
_SWARM = (0.006, 0.002)
_EVENT_SECONDS = 5.0
_IMAGE = "sha256:" + "0" * 64


@cache
def plan() -> Mapping[str, Sequence[Sequence[str]]]:
    found: dict[str, list[list[str]]] = json.loads(Path(os.environ[PLAN]).read_text())
    return found


def install() -> None:
    """Every engine that is opened from here on is one of these."""
    engines.Engine = StubEngine  # type: ignore[misc,assignment]


class StubEngine:
    """The calls that the API and a reconcile make of a machine on which nothing is amiss."""

    def __init__(self, url: str, *, node: str = CONTROLLER, **_: Any) -> None:
        self._seats = {name: id for id, name in plan().get(node, ())}
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def cpus(self) -> int:
        return 32

    def swarm_nodes(self) -> list[SwarmNode]:
        _take(_SWARM)
        return [
            SwarmNode(name, {"atelier.node": name}, "ready", "active", "10.0.0.1", MEMORY, 32, "26.1.5")
            for name in plan()
        ]

    def container_names(self, label: str) -> dict[str, str]:
        _take(_LIST)
        _take(_LISTED, len(self._seats))
        return dict(self._seats)

    def containers(self, label: str) -> list[Container]:
        _take(_LIST)
        _take(_LISTED, len(self._seats))
        return [found for name in self._seats if (found := self.inspect(name))]

    def images_in_use(self, label: str) -> set[str]:
        _take(_LIST)
        _take(_LISTED, len(self._seats))
        return {_IMAGE}

    def inspect(self, container: str) -> Container | None:
        _take(_INSPECT)
        name = container.removeprefix("id-of-")
        id = self._seats.get(name)
        if id is None:
            return None
        return Container(
            id=f"id-of-{name}",
            name=name,
            status="running",
            image_id=_IMAGE,
            labels={"atelier.workspace": id, "atelier.instance": INSTANCE, "atelier.name": f"Workshop {id}"},
            address=None,
            memory=2 * GIB,
            cpus=2.0,
            restarts=0,
            cpu_shares=CPU_SHARES,
            volumes=(f"{INSTANCE}-{id}",),
            started_at="2026-01-01T00:00:00.000000000Z",
        )

    def events(self, label: str) -> Iterator[Event]:
        """A container of the machine is looked at every few seconds, as after a start by hand."""
        for name, id in self._seats.items():
            if self._closed.wait(_EVENT_SECONDS * len(plan())):
                return
            yield Event("start", f"id-of-{name}", name, {"atelier.workspace": id}, time.time_ns())
        self._closed.wait()

    def past_events(self, label: str, since: int) -> list[Event]:
        return []

    def stats(self, container: str) -> ContainerStats:
        _take(_STATS)
        return ContainerStats(time.monotonic(), 60 * 1024**2, 0, 0)

    def written(self, container: str) -> int:
        _take(_WRITTEN)
        return 40 * 1024**2

    def sizes(self, *labels: str) -> dict[str, Size]:
        return {name: Size(40 * 1024**2, 800 * 1024**2) for name in self._seats}

    def execute(self, *_: object, **__: object) -> tuple[int, str]:
        _take(_INSPECT)
        return 0, f"{400 * GIB} {500 * GIB} 90 100"

    def images(self, label: str) -> list[Any]:
        return []

    def image_tags(self, label: str) -> list[str]:
        return []

    def volumes(self, label: str) -> list[str]:
        return [f"{INSTANCE}-{id}" for id in self._seats.values()]


def _take(seconds: tuple[float, float], times: int = 1) -> None:
    whole, busy = (part * times for part in seconds)
    end = time.thread_time() + busy
    while time.thread_time() < end:
        pass
    time.sleep(whole - busy)
