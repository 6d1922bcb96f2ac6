"""Expiry: what counts as use, and when a workspace is due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.models import CONTROLLER
from atelier.workshop.idle_policy import UsageSample, extend, extensions, is_due
from support import container, open_store, order, row

from api.background import idle_stop
from api.background.idle_stop import _to
from api.monitoring.stats import connections_in

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)


def before(minutes: float) -> datetime:
    return NOON - timedelta(minutes=minutes)


def signs(**values: Any) -> UsageSample:
    known: dict[str, Any] = {
        "started_at": before(500),
        "last_use": before(61),
        "connections": 0,
        "cpu_cores": 0.01,
        "extended_until": None,
    }
    return UsageSample(**known | values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "idle"),
        ({"last_use": None}, "idle"),
        ({"last_use": before(59)}, None),
        ({"started_at": before(59), "last_use": None}, None),
        ({"connections": 1}, None),
        ({"cpu_cores": 0.3}, None),
        ({"extended_until": before(-1)}, None),
        # An extension that is over counts as the last use: nobody is stopped the moment it ends.
        ({"extended_until": before(1)}, None),
        ({"extended_until": before(61)}, "idle"),
    ],
)
def test_idle(values: dict[str, Any], reason: str | None) -> None:
    hour = timedelta(hours=1)
    assert is_due(signs(**values), NOON, idle=hour, end=None, watched_since=before(500)) == reason
    # Where it is not turned on, and where nobody has watched long enough, nothing is.
    assert is_due(signs(**values), NOON, idle=None, end=None, watched_since=before(500)) is None
    assert is_due(signs(**values), NOON, idle=hour, end=None, watched_since=before(59)) is None


@pytest.mark.parametrize(
    ("values", "end", "over"),
    [
        ({"connections": 3}, before(1), True),
        ({}, before(-1), False),
        ({"started_at": before(1)}, before(2), False),
        ({"extended_until": before(-30)}, before(1), False),
    ],
)
def test_the_end_of_a_workshop(values: dict[str, Any], end: datetime, over: bool) -> None:
    reason = is_due(signs(**values), NOON, idle=None, end=end, watched_since=before(500))
    assert (reason is not None) is over


def test_seats_of_a_machine_that_does_not_answer_are_stopped_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stop would fail, and be asked for again half a minute later."""
    stopped: list[str] = []

    async def stop(_: Any, __: Any, id: str, reason: str, ___: Any) -> None:
        stopped.append(id)

    monkeypatch.setattr(idle_stop, "start_stop", stop)
    with open_store(tmp_path) as store:
        here, away = store.reserve([order("w 1", group="w"), order("w 2", group="w")])
        store.update(away.id, node="alpha")
        seen = {id: container(started_at="2027-03-01T08:00:00Z") for id in (here.id, away.id)}
        answering = {CONTROLLER}
        services: Any = SimpleNamespace(
            reads=store,
            clock=SimpleNamespace(now=lambda: NOON, jumps=0),
            settings=SimpleNamespace(workspace_timeout=0, workshop=SimpleNamespace(end=before(1), group="w")),
            watcher=SimpleNamespace(seen=seen, answers=lambda node: node in answering),
            sampler=SimpleNamespace(usage={}, connections=lambda _: None),
        )
        watching = idle_stop.IdleStop(services)
        asyncio.run(watching._look())
        assert stopped == [here.id]
        answering.add("alpha")
        asyncio.run(watching._look())
        assert away.id in stopped


def test_an_extension_is_never_cut_and_goes_with_its_workspace(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("base")])
        first = extend(store, row.id, 60)
        assert extend(store, row.id, 5) == first
        assert extend(store, row.id, 90) > first
        assert extensions(store).keys() == {row.id}
        store.delete(row.id)
        assert extensions(store) == {}


def test_connections_are_counted_by_where_they_lead() -> None:
    table = """  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 010012AC:C350 100012AC:1F92 01 00000000:00000000
   2: 010012AC:C352 100012AC:0BB8 01 00000000:00000000
   3: 010012AC:C354 110012AC:1F92 06 00000000:00000000
"""
    found = connections_in(table)
    assert found == {"172.18.0.16": 2}
    seat, other = row(address="172.18.0.16"), row(address="172.18.0.17")
    assert (_to(seat, found), _to(other, found)) == (2, 0)
    assert _to(other, None) == 1, "of a machine that did not tell"
