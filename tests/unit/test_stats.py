"""The API's samples of running containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import Node
from atelier.engine.machine import Disk, disk_at
from atelier.engine.models import ContainerStats
from support import container, site

from api.monitoring import stats
from api.monitoring.stats import Sampler


def test_a_container_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    seen = {id: container(id=id) for id in ("ended", "running")}
    watcher: Any = SimpleNamespace(seen_at=lambda _: seen, answers=lambda _: True)
    sampler = Sampler(site(tmp_path), watcher)

    def of(id: str) -> ContainerStats | None:
        return ContainerStats(1.0, 4096, 0, 0) if id == "running" else None

    sampler._seats["controller"].ask(SimpleNamespace(stats=of))  # type: ignore[arg-type]

    assert set(sampler.usage) == {"running"}


def test_a_container_that_docker_says_nothing_of_hides_no_other(tmp_path: Path) -> None:
    seen = {id: container(id=id) for id in ("hangs", "runs")}
    answering = {"controller"}
    watcher: Any = SimpleNamespace(seen_at=lambda _: seen, answers=answering.__contains__)
    sampler = Sampler(site(tmp_path), watcher)
    asked: list[str] = []

    def of(id: str) -> ContainerStats:
        asked.append(id)
        if id == "hangs":
            raise AtelierError(Code.ENGINE_ERROR, as_message("no answer"))
        return ContainerStats(1.0, 4096, 0, 0)

    engine: Any = SimpleNamespace(stats=of)
    sampler._seats["controller"].ask(engine)
    assert (set(sampler.usage), asked) == ({"runs"}, ["hangs", "runs"])
    answering.clear()
    sampler._seats["controller"].ask(engine)
    assert len(asked) == 2, "of a machine that went away no container is asked for"


class Once:
    """A thread's event to end, and a watcher: it runs once, on a machine that answers or not."""

    def __init__(self, *, answers: bool = True) -> None:
        self._answers = answers
        self._ended = iter((False, True))
        self.waits: list[float] = []
        self.seen = dict.fromkeys(range(50_000))

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return next(self._ended)

    def answers(self, node: str) -> bool:
        return self._answers


def look(sampler: Sampler, engine: Any, monkeypatch: pytest.MonkeyPatch, *, answers: bool = True) -> list[float]:
    """A look at alpha; returns the seconds that were waited before it and after it."""
    once: Any = Once(answers=answers)
    thread = sampler._nodes["alpha"]
    monkeypatch.setattr(thread, "stopped", once)
    monkeypatch.setattr(thread, "_watcher", once)
    monkeypatch.setattr(stats, "open_engine", lambda *_, **__: engine)
    thread.run()
    return list(once.waits)


def test_machines_have_their_seats_sampled_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty at once kept requests waiting for seconds."""
    nodes = tuple(Node(f"node{number}", "unix:///nowhere") for number in range(49))
    sampler = Sampler(replace(site(tmp_path), nodes=nodes), SimpleNamespace(seen=range(5000)))  # type: ignore[arg-type]
    for now in (1000.0, 1017.3):
        monkeypatch.setattr(stats, "time", SimpleNamespace(monotonic=lambda now=now: now))
        waited: list[float] = []
        for thread in sampler._seats.values():
            monkeypatch.setattr(thread, "stopped", SimpleNamespace(wait=waited.append))
            thread.wait()
        waited.sort()
        assert min(waited) > 0 and max(waited) <= 50
        assert [after - before for before, after in pairwise(waited)] == pytest.approx([1.0] * 49)


HEAD = "head\n"
TABLE = f"{HEAD}   1: 010012AC:C350 100012AC:1F92 01 00000000:00000000\n"
ALPHA = (Node("alpha", "unix:///alpha"),)


def test_a_nodes_connections_are_asked_of_its_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(replace(site(tmp_path), nodes=ALPHA), SimpleNamespace())  # type: ignore[arg-type]
    assert sampler.connections("alpha") is None and sampler.connections("lost") is None
    during: list[object] = []
    table = 0, TABLE

    def execute(name: str, command: Sequence[str], **_: object) -> tuple[int, str]:
        assert name == "test-node-gateway"
        during.append(sampler.connections("alpha"))
        return table if command[-1] == "/proc/net/tcp" else (0, f"{HEAD} 300 1000 90 100\n")

    engine = SimpleNamespace(execute=execute)
    look(sampler, engine, monkeypatch)
    assert sampler.connections("alpha") == {"172.18.0.16": 1}
    assert sampler.disk("alpha") == Disk(300, 1000, 90, 100)
    during.clear()
    look(sampler, engine, monkeypatch)
    assert during == [{"172.18.0.16": 1}] * 3, "the last ones, until there are others"
    table = 1, "cat: /proc/net/tcp: Permission denied"
    look(sampler, engine, monkeypatch)
    assert sampler.connections("alpha") is None, "nobody knows"
    assert sampler.disk("alpha") == Disk(300, 1000, 90, 100)
    table = 0, TABLE
    look(sampler, engine, monkeypatch)
    table = 0, ""
    look(sampler, engine, monkeypatch)
    assert sampler.connections("alpha") is None, "Docker lost the output"
    table = 0, TABLE
    for answers in (True, False):
        look(sampler, engine, monkeypatch, answers=answers)
        assert (sampler.connections("alpha") is not None) is answers


def test_a_nodes_disk_is_looked_at_however_many_seats_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(replace(site(tmp_path), nodes=ALPHA), SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr(stats, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    engine = SimpleNamespace(execute=lambda *_, **__: (0, f"{HEAD} 300 1000 90 100\n"))
    waited = look(sampler, engine, monkeypatch)
    assert max(waited) <= 10
    assert sampler.disk("alpha") == Disk(300, 1000, 90, 100)
    monkeypatch.setattr(stats, "time", SimpleNamespace(monotonic=lambda: 1059.0))
    look(sampler, engine, monkeypatch, answers=False)
    assert sampler.disk("alpha") is not None
    monkeypatch.setattr(stats, "time", SimpleNamespace(monotonic=lambda: 1061.0))
    assert sampler.disk("alpha") is None, "it may be full by now"


def test_a_nodes_disk_is_asked_of_its_gateway() -> None:
    asked: list[str] = []

    def engine(output: str) -> Any:
        def execute(name: str, command: Sequence[str], **_: object) -> tuple[int, str]:
            asked.append(name)
            return 0, output

        return SimpleNamespace(execute=execute)

    head = "     Avail   1B-blocks  IFree  Inodes\n"
    for inodes, short in (((90, 100), False), ((1, 100), True), ((0, 0), False)):
        disk = disk_at(engine(f"{head}  300  1000  {inodes[0]}  {inodes[1]}\n"), "test")
        assert disk == Disk(300, 1000, *inodes) and disk.inodes_short is short
    assert disk_at(engine("df: no such file"), "test") is None
    assert set(asked) == {"test-node-gateway"}
