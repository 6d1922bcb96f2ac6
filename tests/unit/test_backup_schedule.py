"""Scheduled backups: times, settings, and reports."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.backup import create
from atelier.backup.create import last_backup
from atelier.backup.state_files import STATUS
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message

from api.background import backup_schedule
from api.background.backup_schedule import BackupSchedule, is_due
from api.background.metrics import _backup
from api.runner.adapter import Ended
from api.settings import Backup

NOON = datetime(2027, 3, 1, 12, 0, 10).astimezone()
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("tried", "failed", "since", "due"),
    [
        (NOON - DAY, False, NOON - DAY, True),
        (NOON - MINUTE, False, NOON - DAY, True),  # one by hand a minute before
        (NOON, False, NOON - DAY, False),
        (None, False, NOON - DAY, True),
        # Not what was missed before the start, unless there were backups before.
        (None, False, NOON, False),
        (NOON - 2 * DAY, False, NOON, True),
        # Again an hour after a failure, not at once.
        (NOON, True, NOON - DAY, False),
    ],
)
def test_a_backup_is_due_at_each_time_of_the_day(
    tried: datetime | None, failed: bool, since: datetime, due: bool
) -> None:
    times = (time(12, 0), time(3, 30))
    assert is_due(NOON, times, tried, failed=failed, since=since) is due


def test_a_failed_one_is_tried_again_after_an_hour() -> None:
    later = NOON + HOUR
    assert is_due(later, (time(12, 0),), NOON, failed=True, since=NOON)
    assert not is_due(later - MINUTE, (time(12, 0),), NOON, failed=True, since=NOON)
    assert not is_due(later, (time(12, 0),), NOON, failed=False, since=NOON)


class World:
    """The services that the schedule uses; ``moment`` is the present."""

    def __init__(self, state_dir: Path, monkeypatch: pytest.MonkeyPatch, times: tuple[str, ...] = ("12:00",)) -> None:
        self.moment, self.ended = NOON - MINUTE, Ended("successful", {})
        self.asked: list[dict[str, Any]] = []
        self.told: list[tuple[object, ...]] = []
        self.open: list[Any] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.status = state_dir / STATUS
        self.status.parent.mkdir()
        keep = {"daily": 7}
        backup = Backup(
            repository="/srv/backup", password_file=Path("/etc/key"), environment_file="", times=times, keep=keep
        )
        self.services: Any = SimpleNamespace(
            settings=SimpleNamespace(backup=backup, site=SimpleNamespace(state_dir=state_dir)),
            read_jobs=SimpleNamespace(unfinished=lambda: self.open, find=lambda _: None),
            queue=SimpleNamespace(submit=self._submit),
            jobs=SimpleNamespace(create=self._create),
            audit=SimpleNamespace(write=lambda *words: self.told.append(words)),
            watcher=SimpleNamespace(available=True),
        )
        monkeypatch.setattr(backup_schedule, "_now", lambda: self.moment)
        self.schedule = BackupSchedule(self.services)

    def _create(self, operation: str, ids: list[str], variables: dict[str, Any], caller: str) -> Any:
        assert (operation, ids, caller) == ("backup", [], "schedule")
        self.asked.append(variables)
        self.meanwhile()
        return SimpleNamespace(id="5e7a", operation=operation, project_ids=ids, variables=variables)

    def _submit(self, *_: object, **__: object) -> asyncio.Future[Ended]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(self.ended)
        return done

    def look(self, moment: datetime) -> int:
        """Lets the schedule look at that moment; returns the number of backups that it asked for."""
        self.moment = moment
        before = len(self.asked)
        asyncio.run(self.schedule._look())
        return len(self.asked) - before

    def note(self, ended_at: datetime, error: object = None) -> None:
        succeeded = None if error else ended_at.isoformat()
        told = {"ended_at": ended_at.isoformat(), "succeeded_at": succeeded, "snapshot": None, "error": error}
        self.status.write_text(json.dumps(told))


def test_each_time_makes_one_job_with_an_audit_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    assert world.look(NOON - timedelta(seconds=30)) == 0
    assert world.look(NOON) == 1
    assert world.asked[0]["backup_create"] is False
    assert world.told == [("schedule", "backup", None, "successful", "5e7a")]
    world.note(NOON)
    assert world.look(NOON + HOUR) == 0
    # While one is under way, after a crash of the API, there is no other.
    world.open = [SimpleNamespace(operation="backup")]
    assert world.look(NOON + DAY) == 0
    world.open = []
    world.ended = Ended("failed", {}, AtelierError(Code.BACKUP_FAILED, as_message("full")))
    assert world.look(NOON + DAY) == 1
    assert world.told[-1][3] == "failed: BACKUP_FAILED"
    world.note(NOON + DAY, {"id": "x"})
    assert (world.look(NOON + DAY + MINUTE), world.look(NOON + DAY + HOUR)) == (0, 1)


CANCELED = Ended("canceled", {}, AtelierError(Code.CANCELED, Message("canceled")))


def test_a_failure_that_the_module_did_not_note_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    world.note(NOON - DAY)
    before = last_backup(tmp_path)
    world.ended = CANCELED
    assert world.look(NOON) == 1
    found = last_backup(tmp_path)
    assert (found.error or {})["id"] == "canceled"
    assert found.succeeded_at == before.succeeded_at
    assert [world.look(NOON + after) for after in (MINUTE, HOUR)] == [0, 1]


def test_what_the_module_noted_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    world.ended = Ended("failed", {}, AtelierError(Code.BACKUP_FAILED, as_message("full")))
    world.meanwhile = lambda: world.note(NOON, {"id": "its own"})
    assert world.look(NOON) == 1
    assert last_backup(tmp_path).error == {"id": "its own"}
    assert [world.look(NOON + after) for after in (MINUTE, HOUR)] == [0, 1]


def test_an_attempt_is_remembered_although_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    world.note(NOON - DAY)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(create, "write_atomically", full)
    world.ended = CANCELED
    assert [world.look(NOON + after) for after in (0 * DAY, MINUTE, HOUR)] == [1, 0, 1]
    # Not even the job can be stored.
    world.meanwhile = lambda: full()
    with pytest.raises(OSError, match="No space"):
        world.look(NOON + 2 * HOUR)
    assert world.look(NOON + 2 * HOUR + MINUTE) == 0
    # One by hand that succeeds afterwards ends it.
    world.note(NOON + 2 * HOUR + 2 * MINUTE)
    assert world.look(NOON + 5 * HOUR) == 0


def test_without_times_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(World(tmp_path, monkeypatch, ()).schedule.run())


def test_the_metrics_tell_of_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)

    def figures() -> dict[str, float]:
        return {name: value for name, value, _ in _backup(world.services)}

    assert figures() == {
        "atelier_backup_configured": 1,
        "atelier_backup_ever_succeeded": 0,
        "atelier_backup_last_failed": 0,
    }
    world.note(NOON)
    assert figures()["atelier_backup_last_success_timestamp_seconds"] == NOON.timestamp()
    assert figures()["atelier_backup_ever_succeeded"] == 1
    world.note(NOON, {"id": "x"})
    assert figures() == {
        "atelier_backup_configured": 1,
        "atelier_backup_ever_succeeded": 0,
        "atelier_backup_last_failed": 1,
    }
