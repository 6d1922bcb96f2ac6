"""Clocks that jump: nobody is stopped, signed out or kept running because the machine's clock was set."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from atelier.common.models import StopReason
from atelier.common.steady_clock import SteadyClock
from atelier.database.workspace_store import WorkspaceStore
from support import open_store, order, row

from api.auth.sessions import LIFETIME_SECONDS, Role, Sessions
from api.background import idle_stop
from api.background.idle_stop import IdleStop

START = datetime(2027, 3, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
SECRETS = {Role.OPERATOR: "token", Role.WORKSHOP: "password"}


class Machine:
    """``passes`` is time that really passes; ``jump`` is how far somebody set the clock."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.jump = 0.0

    def wall(self) -> float:
        return START + self.passed + self.jump

    def steady(self) -> float:
        return 100.0 + self.passed


def seen(clock: SteadyClock) -> float:
    return clock.now().timestamp() - START


@pytest.mark.parametrize("jump", [10 * HOUR, -10 * HOUR, 365 * 24 * HOUR])
def test_a_jump_that_is_undone_was_none(jump: float) -> None:
    machine = Machine()
    clock = SteadyClock(machine.wall, machine.steady)
    machine.jump = jump
    for minute in range(9):
        machine.passed = minute * 60.0
        assert seen(clock) == pytest.approx(minute * 60)
    machine.jump = 0
    machine.passed = 2 * HOUR
    assert seen(clock) == pytest.approx(2 * HOUR)
    assert clock.jumps == 0


def test_a_jump_that_lasts_is_followed_and_counted() -> None:
    machine = Machine()
    clock = SteadyClock(machine.wall, machine.steady)
    machine.jump = 5.0  # NTP slews a little: followed at once
    assert seen(clock) == pytest.approx(5)
    machine.jump = 10 * HOUR
    seen(clock)
    machine.passed = 500
    machine.jump = 20 * HOUR  # again: the time to settle begins again
    assert seen(clock) == pytest.approx(505)
    machine.passed = 900
    assert (seen(clock), clock.jumps) == (pytest.approx(905), 0)
    machine.passed = 1200
    assert (seen(clock), clock.jumps) == (pytest.approx(20 * HOUR + 1200), 1)


@pytest.mark.parametrize("jump", [2 * LIFETIME_SECONDS, -2 * LIFETIME_SECONDS])
def test_sessions_end_by_the_time_that_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    machine = Machine()
    monkeypatch.setattr(time, "time", machine.wall)
    monkeypatch.setattr(time, "monotonic", machine.steady)
    kept = Sessions(tmp_path, SECRETS)
    id = kept.open(Role.OPERATOR)
    machine.jump = jump
    assert kept.is_open(Role.OPERATOR, id)
    # After a restart the file has the clock's time only; nobody gets more than the lifetime by it.
    again = Sessions(tmp_path, SECRETS)
    assert again.is_open(Role.OPERATOR, id) is (jump < 0)
    machine.passed = LIFETIME_SECONDS + 1
    assert not kept.is_open(Role.OPERATOR, id)
    assert not again.is_open(Role.OPERATOR, id)


def test_lists_keep_their_order_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([f"20{30 - number}-01-01T00:00:00.000Z" for number in range(20)])
    monkeypatch.setattr("atelier.database.workspace_store.now", lambda: next(times))
    with open_store(tmp_path) as store:
        (base,) = store.reserve([order("base")])
        for batch in ("0000000000b2", "0000000000b1"):
            store.reserve_clones(base, batch, [None], "default")
        assert [row.name for row in store.all()] == ["base", "base 1", "base 2"]
        assert [batch.id for batch in store.open_batches()] == ["0000000000b2", "0000000000b1"]
        assert isinstance(store, WorkspaceStore)


@pytest.mark.parametrize("jump", [10 * HOUR, -10 * HOUR])
def test_no_seat_is_stopped_because_the_clock_jumped(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Neither as idle nor because its workshop seems to be over; idle seats are stopped all the same."""
    machine, stopped = Machine(), list[tuple[str, str]]()
    seats = {"0123456789ab": "busy", "0123456789cd": "idle"}
    rows = [row(id=id, name=name, address=f"10.9.0.{n}", group="w") for n, (id, name) in enumerate(seats.items(), 16)]

    async def beats(rows: object) -> dict[str, datetime]:
        return {"0123456789ab": datetime.fromtimestamp(machine.wall() - 1, UTC)}

    async def stop(_services: object, _caller: object, id: str, reason: StopReason, _stopping: set[str]) -> None:
        stopped.append((seats[id], reason))
        running.pop(id)

    running = {id: SimpleNamespace(started_at="2027-03-01T11:00:00Z", status="running") for id in seats}
    services = SimpleNamespace(
        clock=SteadyClock(machine.wall, machine.steady),
        settings=SimpleNamespace(
            workspace_timeout=120,
            workshop=SimpleNamespace(end=datetime.fromtimestamp(START + 5 * HOUR, UTC), group="w"),
        ),
        watcher=SimpleNamespace(seen=running, answers=lambda _: True),
        sampler=SimpleNamespace(usage={}, connections=lambda _: Counter()),
        activities=SimpleNamespace(heartbeats=beats),
        reads=SimpleNamespace(all=lambda: rows),
    )
    monkeypatch.setattr(idle_stop, "extensions", lambda store: {})
    monkeypatch.setattr(idle_stop, "start_stop", stop)
    watch = IdleStop(services)  # type: ignore[arg-type]

    def pass_minutes(count: int) -> None:
        for _ in range(count):
            machine.passed += 60
            asyncio.run(watch._look())

    pass_minutes(60)
    machine.jump = jump
    pass_minutes(8)  # nobody knows yet whether it stays so
    assert stopped == []
    machine.jump = 0
    pass_minutes(51)
    assert stopped == []
    pass_minutes(2)
    assert stopped == [("idle", "idle")]
    machine.jump = jump
    pass_minutes(60)
    # The clock is right now: the workshop is over where it went ahead.
    assert stopped[1:] == ([("busy", "end")] if jump > 0 else [])
