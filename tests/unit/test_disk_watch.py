"""The API's watch over the disk, look by look, with a stand-in for Docker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import CONTROLLER, Workspace
from atelier.database.placement import Machine
from atelier.engine.container_limits import CPU_SHARES
from atelier.engine.machine import Disk
from atelier.engine.models import Container
from atelier.workspaces.disk_limits import Reason, notices
from support import container, open_store, order

from api.background import disk_watch
from api.background.disk_watch import DiskWatch
from api.monitoring.disk_gauge import Figures
from api.monitoring.seat_threads import SeatThreads
from api.services import jobs
from api.services.services import Services

GIB = 1024**3
MIB = 1024**2


class Gauge:
    """Seats' sizes as the test sets them."""

    def __init__(self) -> None:
        self.now: dict[str, Figures] = {}
        self.sizes: Mapping[str, int] = {}
        self.killed: list[str] = []
        self.at_kill: Callable[[], None] = lambda: None
        self.renewed: list[str] = []

    def measure(self, node: str, containers: Mapping[str, str], *, with_writes: bool) -> dict[str, Figures]:
        found = {id: self.now.get(id, Figures(0, 0.0)) for id in containers}
        self.sizes = {id: figures.used for id, figures in found.items()}
        return found

    def kill(self, node: str, container: str) -> None:
        self.at_kill()
        self.killed.append(container)

    def renew_shares(self, node: str, containers: list[Container]) -> None:
        self.renewed += [container.id for container in containers]


def watcher(seen: dict[str, Container], rows: Sequence[Workspace]) -> SimpleNamespace:
    """A watcher whose machines all answer."""
    places = {row.id: row.node for row in rows}

    def seen_at(node: str) -> dict[str, Container]:
        return {id: found for id, found in seen.items() if places.get(id, CONTROLLER) == node}

    return SimpleNamespace(seen=seen, available=True, answers=lambda _: True, seen_at=seen_at)


class World:
    """Two running seats on a machine, and others elsewhere, a platform around them, and the machine's disk."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        limit: int,
        reserve: int,
        node: str = CONTROLLER,
        elsewhere: Sequence[str] = (),
    ) -> None:
        self.store = open_store(folder)
        self.rows: list[Workspace] = self.store.reserve([order("a"), order("b")], [Machine(node, 64 * GIB)])
        if elsewhere:
            self.rows += self.store.reserve([order(name) for name in elsewhere], [Machine("other", 64 * GIB)])
        self.gauge = Gauge()
        self.free: int | None = 50 * GIB
        self.stopped: list[str] = []
        self.refusal: AtelierError | None = None
        seen = {
            row.id: container(id=f"c-{row.id}", cpu_shares=CPU_SHARES, started_at="2026-03-01T12:00:00.123456789Z")
            for row in self.rows
        }
        services = SimpleNamespace(
            settings=SimpleNamespace(
                site=SimpleNamespace(seat_disk=limit, node_names=(CONTROLLER, "alpha", "other")), disk_reserve=reserve
            ),
            disk=self.gauge,
            sampler=SimpleNamespace(disk=self._space),
            watcher=watcher(seen, self.rows),
            reads=self.store,
            store=self.store,
            jobs=SimpleNamespace(create=self._create),
        )
        self.node = node
        self.watch = DiskWatch(cast("Services", services), node, SeatThreads(1, "disk"))
        monkeypatch.setattr(jobs, "submit", self._begin)

    def _space(self, node: str) -> Disk | None:
        assert node == self.node
        return None if self.free is None else Disk(self.free, 100 * GIB)

    def _create(self, operation: str, ids: list[str], variables: dict[str, Any], caller: str) -> str:
        if self.refusal:
            raise self.refusal
        assert (operation, variables, caller) == ("stop", {"workspace_stop_reason": "disk"}, "disk")
        return ids[0]

    def _begin(self, services: object, caller: object, job: str, **_: object) -> asyncio.Future[None]:
        self.stopped.append(job)
        return asyncio.get_running_loop().create_future()  # the stop takes its time

    def look(self, free: int | None, **sizes: int) -> None:
        self.free = free
        for row in self.rows:
            used = sizes.get(row.name, self.gauge.sizes.get(row.id, 0))
            self.gauge.now[row.id] = Figures(used, 0.0)
        self.watch._next = 0.0  # it is time
        asyncio.run(self.watch.look())

    def reasons(self) -> dict[str, Reason]:
        told = notices(self.store)
        return {row.name: told[row.id].reason for row in self.rows if row.id in told}


def test_the_fastest_are_stopped_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=0, reserve=5 * GIB)
    flood, calm = world.rows
    world.look(20 * GIB, a=GIB, b=GIB)
    world.look(6 * GIB, a=15 * GIB)
    assert world.stopped == []
    world.look(4 * GIB, a=17 * GIB, b=GIB + MIB)
    assert (world.gauge.killed, world.stopped) == ([f"c-{flood.id}"], [flood.id])
    assert world.reasons() == {"a": Reason.DISK}
    # Earlier writes no longer count; the disk is still short, so the seat that continues is next.
    world.look(4 * GIB, b=GIB + 50 * MIB)
    assert world.stopped == [flood.id]
    world.look(3 * GIB, b=GIB + 120 * MIB)
    assert world.stopped == [flood.id, calm.id]


def test_the_reason_is_noted_before_the_end_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=GIB, reserve=0)
    at_kill: list[dict[str, Reason]] = []
    world.gauge.at_kill = lambda: at_kill.append(world.reasons())
    world.look(20 * GIB, a=MIB)
    world.look(19 * GIB, a=GIB + MIB)
    assert at_kill == [{"a": Reason.LIMIT}]


def test_a_database_that_does_not_answer_delays_no_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=GIB, reserve=0)
    answers = threading.Event()
    monkeypatch.setattr(disk_watch, "note", lambda *_: answers.wait(30))
    world.gauge.at_kill = answers.set
    world.look(20 * GIB, a=MIB)
    world.look(19 * GIB, a=GIB + MIB)
    assert world.gauge.killed == [f"c-{world.rows[0].id}"]


def test_a_node_s_disk_is_its_own_seats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=0, reserve=5 * GIB, node="alpha", elsewhere=["c"])
    world.look(None, a=GIB, b=GIB, c=GIB)
    assert world.stopped == [], "not measured yet"
    world.look(20 * GIB, a=GIB, b=GIB, c=GIB)
    assert world.gauge.sizes.keys() == {row.id for row in world.rows[:2]}
    world.look(4 * GIB, a=17 * GIB, c=30 * GIB)
    assert world.stopped == [world.rows[0].id]
    world.watch._services.watcher.answers = lambda _: False  # type: ignore[method-assign]
    world.look(3 * GIB, b=20 * GIB)
    assert world.stopped == [world.rows[0].id], "a machine that does not answer can stop nothing"


def test_what_others_take_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=0, reserve=5 * GIB)
    world.look(20 * GIB, a=GIB, b=GIB)
    world.look(GIB, a=GIB + MIB)
    assert (world.stopped, world.reasons()) == ([], {})


def test_a_database_that_is_full_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=2 * GIB, reserve=0)
    world.look(20 * GIB, a=GIB)
    world.refusal = AtelierError(Code.REGISTRY_ERROR, as_message("full"))
    real = disk_watch.note

    def refuse(*arguments: object) -> None:
        raise AtelierError(Code.REGISTRY_ERROR, as_message("full"))

    monkeypatch.setattr(disk_watch, "note", refuse)
    with pytest.raises(AtelierError, match="full"):
        world.look(18 * GIB, a=3 * GIB)
    # Its processes are ended all the same.
    assert world.gauge.killed == [f"c-{world.rows[0].id}"]
    assert (world.stopped, world.reasons()) == ([], {})
    world.refusal = None
    monkeypatch.setattr(disk_watch, "note", real)
    world.look(18 * GIB)
    assert (world.stopped, world.reasons()) == ([world.rows[0].id], {"a": Reason.LIMIT})


def test_on_a_full_disk_all_that_fill_it_are_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, limit=0, reserve=5 * GIB)
    world.look(20 * GIB, a=GIB, b=GIB)
    world.refusal = AtelierError(Code.DISK_FULL, as_message("The disk is full."))
    world.look(0, a=11 * GIB, b=11 * GIB)
    assert sorted(world.gauge.killed) == sorted(f"c-{row.id}" for row in world.rows)
    assert world.stopped == []
    # One that goes on all the same is stopped when there is room for the job.
    world.refusal = None
    world.look(0, a=12 * GIB)
    assert world.stopped == [world.rows[0].id]


def test_containers_of_an_earlier_version_get_the_shares_of_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, limit=0, reserve=0)
    seen = cast("dict[str, Container]", world.watch._services.watcher.seen)
    seen["old"] = container(id="c-old", status="exited")
    world.look(20 * GIB)
    assert world.gauge.renewed == ["c-old"]
