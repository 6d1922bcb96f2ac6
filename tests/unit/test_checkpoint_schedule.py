"""Checkpoints by the clock: of workspaces in use, one at a time on each machine, and none on a single machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.models import Workspace
from support import row

from api.background.checkpoint_schedule import CheckpointSchedule, due
from api.services import jobs

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
HALF = timedelta(minutes=30)
NODES = ("alpha", "beta", "gamma")


def test_each_is_due_an_interval_after_its_last_one_or_after_the_start() -> None:
    taken = {"early": NOON - HALF - HALF, "late": NOON - HALF, "lately": NOON - timedelta(minutes=29)}
    assert due(["lately", "late", "early"], taken, NOON, NOON, HALF) == ["early", "late"]
    assert due(["new"], {}, NOON - HALF, NOON, HALF) == ["new"]
    assert due(["new"], {}, NOON, NOON, HALF) == []


def test_only_workspaces_in_use_on_machines_that_answer_are_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {name: f"{name[0] * 12}" for name in ("busy", "idle", "stopped", "away")}
    rows = [row(id=id, name=name, node="alpha" if name == "away" else "beta") for name, id in ids.items()]
    clock = SimpleNamespace(moment=NOON, now=lambda: clock.moment)
    asked: list[tuple[str, Sequence[str], Any]] = []

    async def beats(rows: Sequence[Workspace]) -> dict[str, datetime]:
        return {ids["busy"]: clock.moment, ids["idle"]: NOON}

    def submit(*_: object, **__: object) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    running = {id: SimpleNamespace(status="running") for id in ids.values()}
    running[ids["stopped"]].status = "exited"
    services: Any = SimpleNamespace(
        clock=clock,
        settings=SimpleNamespace(checkpoint_minutes=30, site=SimpleNamespace(nodes=("alpha", "beta"))),
        watcher=SimpleNamespace(seen=running, answers=lambda node: node != "alpha"),
        activities=SimpleNamespace(heartbeats=beats),
        reads=SimpleNamespace(all=lambda: rows),
        jobs=SimpleNamespace(create=lambda operation, ids, variables, _: asked.append((operation, ids, variables))),
    )
    monkeypatch.setattr(jobs, "submit", submit)
    schedule = CheckpointSchedule(services)

    def look(minutes: int) -> list[str]:
        asked.clear()
        clock.moment += timedelta(minutes=minutes)
        asyncio.run(schedule._look())
        assert all((what, how) == ("checkpoint", {"checkpoint_id": "scheduled"}) for what, _, how in asked)
        return [id for _, (id,), _ in asked]

    assert look(29) == []
    # Nobody knows what was before the start.
    assert look(1) == [ids["busy"], ids["idle"]]
    assert look(29) == []
    assert look(1) == [ids["busy"]]


def test_machines_go_side_by_side_and_each_takes_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(id=f"{node[0]}{number:011}", name=f"{node} {number}", node=node) for node in NODES for number in (1, 2)]
    node_of = {each.id: each.node for each in rows}
    under_way: list[str] = []
    most: list[list[str]] = []
    two = asyncio.Event()

    async def beats(rows: Sequence[Workspace]) -> dict[str, datetime]:
        return {}

    def submit(_services: object, _caller: object, id: str, **_: object) -> asyncio.Future[None]:
        async def run() -> None:
            under_way.append(node_of[id])
            if len(under_way) == 2:
                two.set()
            await asyncio.wait_for(two.wait(), 20)
            await asyncio.sleep(0.02)  # a third one would begin meanwhile
            most.append(list(under_way))
            under_way.remove(node_of[id])

        return asyncio.ensure_future(run())

    services: Any = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOON),
        settings=SimpleNamespace(checkpoint_minutes=30, site=SimpleNamespace(nodes=NODES)),
        watcher=SimpleNamespace(
            seen={id: SimpleNamespace(status="running") for id in node_of}, answers=lambda node: True
        ),
        activities=SimpleNamespace(heartbeats=beats),
        reads=SimpleNamespace(all=lambda: rows),
        jobs=SimpleNamespace(create=lambda _, ids, *__: ids[0]),
    )
    monkeypatch.setattr(jobs, "submit", submit)
    schedule = CheckpointSchedule(services)
    services.clock.now = lambda: NOON + HALF
    asyncio.run(schedule._look())
    assert len(most) == len(rows)
    assert max(len(nodes) for nodes in most) == 2, "the others wait, as people's jobs would"
    assert all(len(set(nodes)) == len(nodes) for nodes in most)


@pytest.mark.parametrize(("minutes", "nodes"), [(30, ()), (0, ("alpha",))])
def test_a_single_machine_and_no_interval_take_none(minutes: float, nodes: Sequence[str]) -> None:
    settings = SimpleNamespace(checkpoint_minutes=minutes, site=SimpleNamespace(nodes=nodes))
    services: Any = SimpleNamespace(settings=settings, clock=SimpleNamespace(now=lambda: NOON))
    asyncio.run(CheckpointSchedule(services).run())
