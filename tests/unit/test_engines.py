"""The engines of several machines: which one is used, and how an unreachable one affects the others."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import CONTROLLER, GIB, Node, Site
from atelier.containers import engines
from atelier.containers.context import Context
from atelier.containers.engines import Engines
from atelier.containers.seat_http import DIRECT
from atelier.database.placement import Machine
from atelier.engine import departures
from atelier.engine.docker_errors import Place
from atelier.engine.models import SwarmNode
from support import open_store, order, refused, site


def three(folder: Path) -> Site:
    return replace(site(folder), nodes=(Node("alpha", "unix:///alpha"), Node("beta", "unix:///beta")))


def swarm_node(name: str, state: str = "ready", availability: str = "active", **labels: str) -> SwarmNode:
    return SwarmNode(name, {"atelier.node": name, **labels}, state, availability, "10.0.0.1", 8 * GIB, 4, "26.1")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Beta does not answer; the swarm is as in ``swarm``."""
    swarm = [
        swarm_node(CONTROLLER),
        swarm_node("alpha", gpu="true"),
        swarm_node("beta", "down"),
        swarm_node("stranger"),
    ]

    def open_engine(here: Site, node: str, **_: Any) -> Any:
        if node == "beta":
            raise Place("unix:///beta", "beta").unreachable("ConnectionError")
        return SimpleNamespace(node=node, swarm_nodes=lambda: swarm)

    monkeypatch.setattr(engines, "open_engine", open_engine)
    return Engines(three(tmp_path))


def test_each_workspace_is_asked_about_at_its_own_machine(tmp_path: Path, opened: Engines) -> None:
    absent: Any = None
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("one")], [Machine("alpha", 8 * GIB)])
        context = Context(three(tmp_path), store, opened, absent, lambda *_: None, 1.0)
        found: Any = context.at(row)
        assert (found.node, found.engine.node) == ("alpha", "alpha")
        # A row that was read before a move, while its lock was waited for.
        store.update(row.id, node=CONTROLLER)
        assert context.at(row).node == CONTROLLER
        assert [here.node for here in context.everywhere()] == [CONTROLLER, "alpha"]
        with pytest.raises(AtelierError) as error:
            context.on("beta")
        assert error.value.code is Code.NODE_UNAVAILABLE
        assert error.value.details["node"] == "beta"


def test_the_swarm_is_asked_once_for_all_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if what it said is old. Its answer takes time, in which each machine's thread would ask again."""
    opened: list[str] = []
    asked: list[float] = []

    def swarm_nodes() -> list[SwarmNode]:
        asked.append(time.monotonic())
        time.sleep(0.1)
        return [swarm_node(name) for name in (CONTROLLER, "alpha", "beta")]

    def open_engine(here: Site, node: str, **_: Any) -> Any:
        opened.append(node)
        return SimpleNamespace(node=node, swarm_nodes=swarm_nodes)

    monkeypatch.setattr(engines, "open_engine", open_engine)
    absent: Any = None
    context = Context(three(tmp_path), absent, Engines(three(tmp_path)), absent, lambda *_: None, 1.0)
    assert [here.node for here in context.everywhere()] == [CONTROLLER, "alpha", "beta"]
    assert (len(asked), sorted(opened)) == (1, ["alpha", "beta", CONTROLLER])


def test_only_ready_and_active_machines_of_the_inventory_take_workspaces(tmp_path: Path, opened: Engines) -> None:
    assert [machine.name for machine in opened.machines() or ()] == [CONTROLLER, "alpha"]
    assert [machine.labels for machine in opened.machines() or ()] == [frozenset(), {"gpu=true"}]
    assert Engines(site(tmp_path)).machines() is None
    assert list(opened.swarm_nodes()) == [CONTROLLER, "alpha", "beta"]


def test_labels_are_those_of_the_inventory(tmp_path: Path, opened: Engines) -> None:
    assert opened.node_labels([]) == ""
    assert opened.node_labels(["gpu=true"]) == "gpu=true"
    assert opened.node_labels([], "gpu=true") == "gpu=true"
    for alone_or_not, wanted in ((opened, "atelier.node=alpha"), (Engines(site(tmp_path)), "gpu=true")):
        with pytest.raises(AtelierError) as error:
            alone_or_not.node_labels([wanted])
        refused(error, Code.VALIDATION_ERROR, "nodes")


def test_a_machine_that_the_inventory_lost_is_named(tmp_path: Path) -> None:
    made = Engines(three(tmp_path))
    assert made.route("alpha") is DIRECT
    with pytest.raises(AtelierError) as error:
        made.route("gone")
    assert "gone" in refused(error, Code.NODE_UNAVAILABLE, "site.nodes")


def test_a_machine_that_swarm_calls_down_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    returns = threading.Event()

    def open_engine(here: Site, node: str, **_: Any) -> Any:
        if node == "alpha":  # it is asked in the background why it is down
            returns.wait(10)
            raise Place("unix:///alpha", "alpha").unreachable("ConnectionError")
        opened.append(node)
        return SimpleNamespace(swarm_nodes=lambda: [swarm_node("alpha", "down"), swarm_node("beta", "unknown")])

    monkeypatch.setattr(engines, "open_engine", open_engine)
    made = Engines(three(tmp_path))
    with pytest.raises(AtelierError) as error:
        made.of("alpha")
    assert "does not answer" in refused(error, Code.NODE_UNAVAILABLE, "site.nodes")
    made.of("beta")
    assert opened == [CONTROLLER, "beta"]
    returns.set()


def test_a_machine_that_was_removed_from_the_swarm_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events may never end: it was lost. An engine without a swarm says nothing of any machine."""
    for members, down in (([swarm_node(CONTROLLER), swarm_node("beta")], {"alpha"}), ([], set())):
        engine = SimpleNamespace(swarm_nodes=lambda members=members: members)
        monkeypatch.setattr(engines, "open_engine", lambda *_, engine=engine, **__: engine)
        assert Engines(three(tmp_path)).down() == down


@pytest.mark.parametrize(
    ("members", "says", "left"),
    [
        ([swarm_node(CONTROLLER), swarm_node("beta")], "alpha", True),  # node rm
        ([swarm_node("alpha", "down"), swarm_node("beta")], "", True),  # swarm leave on the machine
        ([swarm_node("alpha", "down"), swarm_node("beta")], "another", True),
        ([swarm_node("alpha", "down"), swarm_node("beta")], "alpha", False),  # its Swarm alone does not answer
        ([swarm_node("alpha", "down"), swarm_node("beta")], None, False),
    ],
)
def test_a_machine_that_left_the_swarm_is_told_from_one_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[SwarmNode], says: str | None, left: bool
) -> None:
    def open_engine(here: Site, node: str, **_: Any) -> Any:
        if node == "alpha" and says is None:
            raise Place("unix:///alpha", "alpha").unreachable("ConnectionError")
        return SimpleNamespace(swarm_nodes=lambda: members, swarm_id=lambda: says, close=lambda: None)

    monkeypatch.setattr(engines, "open_engine", open_engine)
    with pytest.raises(AtelierError) as error:
        Engines(three(tmp_path)).of("alpha")
    told = refused(error, Code.NODE_UNAVAILABLE, "site.nodes")
    assert "alpha" in told
    assert ("no longer a member of the Docker Swarm" in told and "./atelier up" in told) is left


def test_a_machine_that_hangs_is_waited_for_once_and_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "_WAIT_SECONDS", 0.01)
    answers, asked = threading.Event(), threading.Semaphore(0)

    def id_at(_: str) -> str:
        asked.release()
        answers.wait(10)
        return ""

    found = departures.Departures(id_at)
    assert not found.has_left("alpha", "alpha")
    assert not found.has_left("alpha", "alpha")
    answers.set()
    deadline = time.monotonic() + 10
    while not found.has_left("alpha", "alpha"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False), "it is asked once in a while only"


def test_memory_may_be_promised_several_times(tmp_path: Path, opened: Engines) -> None:
    opened._site = replace(three(tmp_path), memory_overcommit=1.5)
    assert opened.memory() == dict.fromkeys((CONTROLLER, "alpha", "beta"), 12 * GIB)
    assert {machine.memory for machine in opened.machines() or ()} == {12 * GIB}
    assert Engines(site(tmp_path)).memory() == {}


def test_a_machine_that_goes_away_during_the_work_is_left_out(tmp_path: Path) -> None:
    absent: Any = None
    made = Context(three(tmp_path), absent, absent, absent, lambda *_: None, 1.0)
    faults = {"beta": Place("unix:///beta", "beta").unreachable("ConnectionError")}

    def cpus(node: str) -> int:
        if node in faults:
            raise faults[node]
        return 4

    machines = {
        node: SimpleNamespace(node=node, engine=SimpleNamespace(cpus=partial(cpus, node)))
        for node in (CONTROLLER, "alpha", "beta")
    }
    opened: Any = SimpleNamespace(of=lambda node: machines[node].engine, route=lambda _: DIRECT)
    context = replace(made, engines=opened)
    assert context.at_each(lambda here: (here.node, here.engine.cpus())) == [(CONTROLLER, 4), ("alpha", 4)]
    assert context.cpus() == 8
    faults["alpha"] = AtelierError(Code.ENGINE_ERROR, as_message("It is broken."))
    with pytest.raises(AtelierError, match="It is broken"):
        context.at_each(lambda here: here.engine.cpus())
    assert context.cpus() == 4
    faults[CONTROLLER] = Place("unix:///nowhere").unreachable("ConnectionError")
    assert context.cpus() == 1
