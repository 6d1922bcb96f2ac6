"""The API's figures of seats while some of them do not answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.models import Workspace
from atelier.containers.seat_http import SeatRoute
from support import row, site

from api.monitoring import seat_activity
from api.monitoring.seat_activity import Activities, Activity
from api.monitoring.seat_threads import SeatThreads

SEATS = [row(id=f"{number:012}", address=f"10.9.0.{number}") for number in range(1, 51)]
HOSTILE = {seat.address for seat in SEATS[:5]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The seats that were asked; hostile ones answer only when the test is over."""
    asked: list[str] = []
    over = threading.Event()

    def answer(self: Activities, seat: Workspace) -> str | None:
        asked.append(seat.address)
        if seat.address in HOSTILE:
            over.wait(20)
            return None
        return "now"

    monkeypatch.setattr(Activities, "_beat", lambda self, seat: "now")
    monkeypatch.setattr(Activities, "_last_commit", answer)
    yield asked
    over.set()


@pytest.fixture
def activities(tmp_path: Path) -> Iterator[Callable[[], Activities]]:
    made: list[Activities] = []

    def make() -> Activities:
        watcher: Any = SimpleNamespace(container=lambda id: None)
        made.append(Activities(site(tmp_path), watcher))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_seats_that_do_not_answer_hold_nobody_up(
    activities: Callable[[], Activities], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seat_activity, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(seat_activity, "_REMEMBERED_SECONDS", 0.0)

    async def look() -> None:
        known = activities()
        for _ in range(3):
            begin = time.monotonic()
            found = await known.of(SEATS)
            assert time.monotonic() - begin < 10  # and not the twenty of a seat that does not answer
            assert [found[seat.id] for seat in SEATS[5:]] == [Activity("now", "now")] * 45
            assert [found[seat.id] for seat in SEATS[:5]] == [Activity("now")] * 5

    asyncio.run(look())
    assert [asked.count(address) for address in HOSTILE] == [1] * 5


def test_a_seat_that_was_slow_is_asked_less_often_and_keeps_what_was_known(
    activities: Callable[[], Activities], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str | None] = ["then", None, None]
    moments: list[float] = []
    monkeypatch.setattr(seat_activity, "_REMEMBERED_SECONDS", 0.0)
    monkeypatch.setattr(seat_activity, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(seat_activity, "_SHORTEST_PAUSE", 1.0)
    monkeypatch.setattr(Activities, "_beat", lambda self, seat: moments.append(time.monotonic()) or answers.pop(0))

    async def look() -> None:
        known = activities()
        while answers:
            assert (await known.of(SEATS[:1]))[SEATS[0].id].last_heartbeat == "then"
            await asyncio.sleep(0.01)

    asyncio.run(look())
    assert moments[1] - moments[0] < 1 < moments[2] - moments[1]


def test_a_heartbeat_that_fails_leaves_those_of_the_others(
    activities: Callable[[], Activities], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expiry looks at them: one seat must not keep the others running indefinitely."""
    now = datetime.now(UTC)

    def beat(address: str, _: SeatRoute) -> datetime | None:
        if address in HOSTILE:
            raise RecursionError("maximum recursion depth exceeded")
        return None if address == SEATS[5].address else now

    monkeypatch.setattr(seat_activity, "heartbeat", beat)

    async def look() -> None:
        assert await activities().heartbeats(SEATS) == {seat.id: now for seat in SEATS[6:]}

    asyncio.run(look())


def test_one_seat_holds_one_thread_however_often_it_is_asked() -> None:
    begun: list[None] = []
    over = threading.Event()

    def slow() -> str:
        begun.append(None)
        over.wait(10)
        return "done"

    async def ask() -> list[str]:
        threads = SeatThreads(2, "test")
        slow_ones = [asyncio.create_task(threads.ask("seat", slow)) for _ in range(10)]
        assert await threads.ask("other", lambda: "at once") == "at once"
        slow_ones.pop().cancel()
        over.set()
        found = await asyncio.gather(*slow_ones)
        threads.close()
        return found

    assert asyncio.run(ask()) == ["done"] * 9
    assert len(begun) == 1
