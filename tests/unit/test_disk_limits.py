"""Full disks: of a seat, and of the platform with the choice of the seats to stop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from atelier.engine.machine import Disk
from atelier.workspaces.disk_limits import (
    Action,
    Measured,
    Notice,
    Reason,
    action,
    fillers,
    forget_notice,
    note,
    notices,
)
from support import open_store, order

GIB = 1024**3
MIB = 1024**2
LIMIT = 20 * GIB
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE, LATER = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)


def notice(reason: Reason, used: int = LIMIT, at: datetime = NOW) -> Notice:
    return Notice(reason, used, LIMIT, at)


@pytest.mark.parametrize(
    ("used", "grown", "wanted"),
    [
        (15 * GIB, 0, Action.CLEAR),
        (16 * GIB, 0, Action.WARN),
        (LIMIT - 1, 0, Action.WARN),
        (LIMIT, 0, Action.STOP),
        (LIMIT, 2 * GIB - 1, Action.STOP),
        # What grows that fast is over the limit by far until its processes have ended by themselves.
        (LIMIT, 2 * GIB, Action.KILL),
    ],
)
def test_warned_and_stopped(used: int, grown: int, wanted: Action) -> None:
    assert action(Measured(used, BEFORE, grown=grown), LIMIT, NOW) is wanted
    assert action(Measured(used, BEFORE, grown=grown), 0, NOW) is Action.CLEAR


@pytest.mark.parametrize("reason", [Reason.LIMIT, Reason.DISK])
@pytest.mark.parametrize(
    ("used", "started_at", "moment", "wanted"),
    [
        # Started again: there are ten minutes to delete files in, and little room.
        (LIMIT, LATER, LATER + timedelta(minutes=9), Action.LEAVE),
        (21 * GIB, LATER, LATER + timedelta(minutes=9), Action.LEAVE),
        (21 * GIB + 1, LATER, LATER + timedelta(minutes=1), Action.STOP),
        (LIMIT, LATER, LATER + timedelta(minutes=10), Action.STOP),
        (19 * GIB, LATER, LATER, Action.WARN),
        (1 * GIB, LATER, LATER, Action.CLEAR),
        # Not yet stopped.
        (LIMIT, BEFORE, LATER, Action.STOP),
        (1 * GIB, BEFORE, LATER, Action.LEAVE),
    ],
)
def test_grace_after_a_start(reason: Reason, used: int, started_at: datetime, moment: datetime, wanted: Action) -> None:
    assert action(Measured(used, started_at, notice(reason)), LIMIT, moment) is wanted


def test_a_warning_gives_no_grace() -> None:
    assert action(Measured(LIMIT, LATER, notice(Reason.WARNED)), LIMIT, LATER) is Action.STOP


def seat(grown: int = 0, hidden: int = 0, walk: float = 0.0) -> Measured:
    return Measured(GIB, BEFORE, grown_in_need=grown, hidden=hidden, walk_seconds=walk)


def test_who_fills_the_disk_is_stopped() -> None:
    seats = {"calm": seat(), "busy": seat(100 * MIB), "flood": seat(3 * GIB), "flood 2": seat(2 * GIB)}
    assert fillers(seats, 6 * GIB) == ["flood", "flood 2"]
    # Little growth is nobody's fault, nor is what something else on the machine takes.
    assert fillers({"calm": seat(), "busy": seat(63 * MIB)}, 63 * MIB) == []
    assert fillers({"calm": seat(), "busy": seat(63 * MIB)}, 5 * GIB) == []
    assert fillers({}, 5 * GIB) == []


def test_deleted_files_that_are_still_written_have_a_writer() -> None:
    seats = {"calm": seat(hidden=MIB), "hidden": seat(hidden=500 * MIB)}
    assert fillers(seats, GIB) == ["hidden"]
    # Overwriting existing data takes no space.
    assert fillers(seats, 0) == []


def test_millions_of_files_have_an_owner() -> None:
    seats = {"calm": seat(walk=0.1), "files": seat(walk=30.0)}
    assert fillers(seats, 0) == []
    assert fillers(seats, 0, inodes_short=True) == ["files"]
    assert fillers({"calm": seat(walk=0.1)}, 0, inodes_short=True) == []
    # Who has so many that nobody can count them may hold any number of bytes.
    assert fillers({"calm": seat(walk=20.0), "files": seat(walk=30.0)}, GIB) == ["files"]
    assert fillers({"calm": seat(walk=20.0), "files": seat(walk=30.0)}, MIB) == []


def test_the_reserve() -> None:
    assert not Disk(6 * GIB, 100 * GIB).is_short(5 * GIB)
    assert Disk(4 * GIB, 100 * GIB).is_short(5 * GIB)
    # A tenth of a small disk is enough.
    assert not Disk(4 * GIB, 30 * GIB).is_short(5 * GIB)
    assert Disk(6 * GIB, 100 * GIB, 1, 100).is_short(5 * GIB)
    assert not Disk(0, 100 * GIB, 1, 100).is_short(0)


def test_sentences() -> None:
    stopped = notice(Reason.LIMIT, 21 * GIB).sentence(running=False)
    assert stopped is not None and stopped.startswith("It was stopped because its files take 21.0 GiB of 20.0 GiB.")
    assert "Delete some" in str(notice(Reason.LIMIT).sentence(running=True))
    assert "Delete some" in str(notice(Reason.WARNED).sentence(running=True))
    assert notice(Reason.WARNED).sentence(running=False) is None
    assert "nearly full" in str(notice(Reason.DISK).sentence(running=False))
    assert notice(Reason.DISK).sentence(running=True) is None


def test_notices_live_as_long_as_their_workspaces(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (row,) = store.reserve([order("a")])
    note(store, row.id, Reason.WARNED, 17 * GIB, LIMIT)
    note(store, row.id, Reason.LIMIT, LIMIT, LIMIT)
    note(store, "gone", Reason.LIMIT, LIMIT, LIMIT)
    (known,) = notices(store).values()
    assert (known.reason, known.used) == (Reason.LIMIT, LIMIT)
    forget_notice(store, row.id)
    assert notices(store) == {}
    note(store, row.id, Reason.WARNED, 17 * GIB, LIMIT)
    store.delete(row.id)
    assert notices(store) == {}
