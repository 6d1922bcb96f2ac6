"""A workshop's end without Docker: the archive of a seat that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import support
from atelier.common.errors import AtelierError, Code
from atelier.common.models import ArchiveLimits, Status, Workspace
from atelier.containers.context import Context
from atelier.engine.models import Container
from atelier.workshop import archives
from atelier.workshop.collect import collect, remove_collected, verify
from atelier.workshop.manifest import NAME, Entry, read_manifest, write_manifest
from support import container, open_store, order, refused, site, tar_of


class Seats:
    """An engine with containers that do not run, and what their /workspace holds, by container name."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gone: set[str] = set()
        self.states: dict[str, dict[str, Any]] = {}
        self.streams = 0
        self.asked: list[list[str]] = []
        self.answer = (0, "")
        self.log: list[str] = []

    def inspect(self, name: str) -> Container | None:
        if name in self.gone or name not in self.files:
            return None
        known = {"id": name, "name": name, "finished_at": "2026-01-01T00:00:00Z"}
        return container(**{"status": "exited", **known, **self.states.get(name, {})})

    def stream(self, name: str, path: str, patience: float) -> Iterator[bytes]:
        assert path == "/workspace" and patience > 0
        self.streams += 1
        try:
            yield tar_of(self.files[name])
        finally:
            self.log.append("closed")

    def execute(self, name: str, command: list[str], *, seconds: float, limit: int = 0) -> tuple[int, str]:
        self.asked.append(command)
        return self.answer

    def pause(self, name: str) -> None:
        self.log.append("paused")
        self.states[name] = {**self.states.get(name, {}), "status": "paused"}

    def unpause(self, name: str) -> None:
        self.log.append("unpaused")
        self.states[name] = {**self.states.get(name, {}), "status": "running"}

    def stop(self, name: str) -> None:
        self.log.append("stopped")
        self.states[name] = {**self.states.get(name, {}), "status": "exited"}

    def start(self, name: str) -> None:
        self.log.append("started")
        self.states[name] = {**self.states.get(name, {}), "status": "running"}

    def rename(self, name: str, new: str) -> None:
        self.files[new] = self.files.pop(name)

    def remove(self, name: str) -> None:
        self.log.append("removed")
        self.gone.add(name)

    def image(self, reference: str) -> None:
        """None."""

    def image_tags(self, label: str) -> list[str]:
        return []

    def container_names(self, label: str) -> list[str]:
        return [name for name in self.files if name not in self.gone]

    def remove_volume(self, name: str) -> bool:
        return True

    def read(self, name: str, path: str, limit: int) -> None:
        """Nothing."""


@pytest.fixture
def seats() -> Seats:
    return Seats()


@pytest.fixture
def context(tmp_path: Path, seats: Seats) -> Context:
    return support.context(site(tmp_path), open_store(tmp_path), seats, ready_timeout=-60)


@pytest.fixture
def rows(context: Context, seats: Seats) -> list[Workspace]:
    made = context.store.reserve([order("Course 1"), order("Course 2")])
    for row in made:
        context.store.update(row.id, status=Status.STOPPED)
        seats.files[context.site.container_name(row.id)] = {"work.txt": row.name.encode()}
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archives"


def test_the_archive_of_a_seat_that_is_gone_stays(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    ids = [row.id for row in rows]
    first = {seat.id: seat for seat in collect(context, ids, folder).seats}
    seats.gone.add(context.site.container_name(ids[0]))
    for _ in range(2):
        again = collect(context, ids, folder)
        kept = again.seats[0]
        before = first[ids[0]]
        assert (kept.file, kept.sha256, kept.bytes) == (before.file, before.sha256, before.bytes)
        assert (kept.entries, kept.content_bytes, kept.collected_at) == (1, before.content_bytes, before.collected_at)
        assert (kept.state, kept.error) == ("error", None)
        assert kept.note is not None
        assert kept.note.startswith("Its container is gone") and str(before.collected_at) in kept.note
        assert not again.changed
        assert {path.name for path in folder.iterdir()} == {NAME, *(seat.file for seat in again.seats)}
        assert read_manifest(folder)[ids[0]] == kept
    assert [seat.id for seat in verify(context, ids, folder).seats] == ids


def test_a_seat_that_was_gone_before_it_was_collected_is_not_collected(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    ids = [row.id for row in rows]
    seats.gone.add(context.site.container_name(ids[0]))
    entry = collect(context, ids, folder).seats[0]
    assert (entry.file, entry.error) == (None, None)
    assert "nothing can be collected" in str(entry.note)
    with pytest.raises(AtelierError) as error:
        verify(context, ids, folder)
    said = refused(error, Code.NOT_COLLECTED, "ids")
    assert error.value.details["missing"] == ["Course 1"]
    assert "'Course 1' has no archive" in said and "workspace_delete" in said


@pytest.mark.parametrize("again", [True, False])
def test_the_work_of_a_seat_whose_upgrade_was_killed_is_not_lost(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path, again: bool
) -> None:
    """Its container has the name of a kept one, which goes with the seat."""
    ids, name = [rows[0].id], context.site.container_name(rows[0].id)
    collect(context, ids, folder)
    seats.files[name]["diary"] = b"written since"
    seats.states[name] = {"finished_at": "2026-01-02T00:00:00Z"}
    kept = f"{name}-kept-20260103t000000000000z"
    seats.rename(name, kept)
    seats.files[f"{name}-new"] = {}
    if again:
        (entry,) = collect(context, ids, folder).seats
        assert (entry.entries, entry.note and entry.note.id) == (2, "at_rest")
    else:
        with pytest.raises(AtelierError, match="newer changes"):
            remove_collected(context, ids, folder)
    assert name in seats.files and kept not in seats.files


def test_an_archive_that_the_manifest_forgot_is_not_removed_for_a_seat_that_is_gone(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    file = collect(context, [rows[0].id], folder).seats[0].file
    (folder / NAME).unlink()
    seats.gone.add(context.site.container_name(rows[0].id))
    collect(context, [rows[0].id], folder)
    assert (folder / str(file)).is_file()


def test_a_newer_archive_takes_the_olders_place(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    first = collect(context, [rows[0].id], folder).seats[0]
    seats.files[context.site.container_name(rows[0].id)]["more.txt"] = b"more"
    again = collect(context, [rows[0].id], folder)
    assert again.changed and again.seats[0].sha256 != first.sha256
    assert {path.name for path in folder.iterdir()} == {NAME, again.seats[0].file}


def test_the_archive_of_a_container_that_the_seat_has_no_more_stays(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    """It was reset, or lost and made again: what the new one holds does not stand for what the old one held."""
    name = context.site.container_name(rows[0].id)
    kept = []
    for number in range(3):
        _with_container(seats, name, f"container {number}", str(number).encode())
        for _ in range(2):
            entry = collect(context, [rows[0].id], folder).seats[0]
        assert entry.former == tuple(kept)
        kept.append(str(entry.file))
        assert {path.name for path in folder.iterdir()} == {NAME, *kept}
        assert read_manifest(folder)[rows[0].id] == entry
    # As it was at first: the archive is there already, and is named once.
    _with_container(seats, name, "container 3", b"0")
    entry = collect(context, [rows[0].id], folder).seats[0]
    assert (entry.file, entry.former) == (kept[0], tuple(kept[1:]))


def _with_container(seats: Seats, name: str, id: str, work: bytes) -> None:
    # Docker is asked by name whether it is there, and by id for what it holds.
    seats.files[name] = seats.files[id] = {"work.txt": work}
    seats.states[name] = {"id": id}


def test_an_error_of_the_last_collect_goes_with_a_container_that_is_gone(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    collect(context, [rows[0].id], folder)
    entries = read_manifest(folder)
    write_manifest(folder, "test", "now", [replace(entry, error="busy") for entry in entries.values()])
    seats.gone.add(context.site.container_name(rows[0].id))
    kept = collect(context, [rows[0].id], folder).seats[0]
    assert (kept.error, kept.file) == (None, entries[rows[0].id].file)
    assert isinstance(kept, Entry)


def test_work_that_is_newer_than_its_archive_is_not_collected(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    ids, (first, second) = [row.id for row in rows], [context.site.container_name(row.id) for row in rows]
    entries = collect(context, ids, folder).seats
    # Neither has run since: nothing is read.
    seats.streams = 0
    verify(context, ids, folder)
    assert (seats.streams, seats.asked) == (0, [])

    # The one runs and is asked, the other ran in between and is compared.
    seats.states = {first: {"status": "running"}, second: {"finished_at": "2026-01-01T00:00:01Z"}}
    verify(context, ids, folder)
    assert (seats.streams, [command[:3] for command in seats.asked]) == (
        1,
        [["/usr/bin/timeout", "60", "/usr/bin/find"]],
    )
    assert entries[0].collected_at in seats.asked[0]

    # What find names, in folders that were moved or where there is no find, is compared: it may only be dated so.
    for seats.answer in ((127, "no find"), (0, "folder\n"), (0, "file src/app.py\n")):
        seats.streams = 0
        verify(context, ids, folder)
        assert seats.streams == 2, seats.answer
    seats.files[first]["src/app.py"] = seats.files[second]["more.txt"] = b"more"
    with pytest.raises(AtelierError) as error:
        verify(context, ids, folder)
    said = refused(error, Code.NOT_COLLECTED, "ids")
    assert error.value.details["missing"] == ["Course 1", "Course 2"]
    assert "newer changes than its archive" in said and "'src/app.py'" in said and "'more.txt'" in said
    assert "workshop_collect" in said and "collected=ignore" in said
    del seats.files[first]["src/app.py"], seats.files[second]["more.txt"]
    verify(context, ids, folder)
    seats.files[first]["work.txt"] = b"other"
    with pytest.raises(AtelierError) as error:
        verify(context, ids, folder)
    assert error.value.details["missing"] == ["Course 1"]


def test_what_a_seat_calls_its_files_makes_no_long_error(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    name = context.site.container_name(rows[0].id)
    seats.states[name] = {"status": "running"}
    collect(context, [rows[0].id], folder)
    seats.answer = (0, "file " + "f" * 10**6)
    seats.files[name]["d\x1b/" * 800] = b"new"
    with pytest.raises(AtelierError) as error:
        verify(context, [rows[0].id], folder)
    said = refused(error, Code.NOT_COLLECTED, "ids")
    assert "newer changes than its archive" in said and "\x1b" not in said and "x1b" not in said
    assert len(said) < 1000


def test_a_clock_that_went_back_hides_no_work(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    """Files of now look older than the archive then, and so does the end of a run that came after it."""
    first, second = (context.site.container_name(row.id) for row in rows)
    ids = [row.id for row in rows]
    collect(context, ids, folder)
    entries = [replace(entry, collected_at="2999-01-01T00:00:00.000Z") for entry in read_manifest(folder).values()]
    write_manifest(folder, "test", "now", entries)
    verify(context, ids, folder)
    seats.states = {first: {"status": "running"}, second: {"finished_at": "2025-01-01T00:00:00Z"}}
    seats.files[first]["new"] = seats.files[second]["new"] = b"new"
    with pytest.raises(AtelierError) as error:
        verify(context, ids, folder)
    assert error.value.details["missing"] == ["Course 1", "Course 2"]


def test_a_seat_goes_on_before_its_archive_is_read_again(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = context.site.container_name(rows[0].id)
    seats.states[name] = {"status": "running"}
    count = archives.count_entries
    monkeypatch.setattr(archives, "count_entries", lambda *given: seats.log.append("read again") or count(*given))
    collect(context, [rows[0].id], folder)
    assert seats.log == ["paused", "closed", "unpaused", "read again"]


def test_a_seat_beyond_a_limit_fails_alone_and_goes_on(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    name = context.site.container_name(rows[0].id)
    seats.states[name] = {"status": "running"}
    seats.files[name] = {f"f{number}": b"" for number in range(4)}
    limited = replace(context, site=replace(context.site, archive=ArchiveLimits(entries=3)))
    small, whole = collect(limited, [row.id for row in rows], folder).seats
    assert str(small.error).startswith("'Course 1' was not archived: its /workspace has more than 3 files and folders")
    assert (small.file, whole.error) == (None, None)
    assert {path.name for path in folder.iterdir()} == {NAME, whole.file}
    assert seats.log[:3] == ["paused", "closed", "unpaused"] or "unpaused" in seats.log
    with context.locks.workspace(rows[0].id, 0):
        pass


def test_an_error_that_nobody_thought_of_is_one_seats_alone(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    seats.files[context.site.container_name(rows[0].id)] = None  # type: ignore[assignment]
    done = collect(context, [row.id for row in rows], folder)
    odd, whole = (seat.error for seat in done.seats)
    assert str(odd).startswith("'Course 1' caused an internal error: AttributeError (support.py:")
    assert whole is None
    assert read_manifest(folder)[rows[0].id].error == done.seats[0].error
    with pytest.raises(AtelierError) as error:
        verify(context, [row.id for row in rows], folder)
    assert error.value.details["missing"] == ["Course 1"]


def test_work_between_the_check_and_the_removal_keeps_the_seat(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    ids, (first, second) = [row.id for row in rows], [context.site.container_name(row.id) for row in rows]
    seats.states = {first: {"status": "running"}, second: {"status": "running"}}
    collect(context, ids, folder)
    verify(context, ids, folder)
    seats.files[first]["diary"] = b"saved after the check"
    with pytest.raises(AtelierError) as error:
        remove_collected(context, ids, folder)
    said = refused(error, Code.NOT_COLLECTED, "ids")
    assert error.value.details["missing"] == ["Course 1"] and "'diary'" in said
    assert [row.name for row in context.store.all()] == ["Course 1"]
    assert (seats.gone, seats.states[first]["status"]) == ({second}, "running")
    # Again: what is gone is gone already, what was collected since goes.
    collect(context, ids[:1], folder)
    seats.log.clear()
    assert remove_collected(context, ids, folder)[0] == ["Course 1"]
    assert seats.log == ["paused", "closed", "removed"]
    assert remove_collected(context, ids, folder) == ([], [])


def test_a_seat_that_keeps_ending_goes_on_when_its_removal_is_refused(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path
) -> None:
    name = context.site.container_name(rows[0].id)
    collect(context, [rows[0].id], folder)
    seats.files[name]["diary"] = b"saved after the check"
    seats.states[name] = {"status": "restarting", "finished_at": "2026-01-02T00:00:00Z"}
    seats.log.clear()
    with pytest.raises(AtelierError) as error:
        remove_collected(context, [rows[0].id], folder)
    assert "'diary'" in refused(error, Code.NOT_COLLECTED, "ids")
    assert seats.log == ["stopped", "closed", "started"]
    assert seats.states[name]["status"] == "running"
    # One that is removed is not started any more.
    collect(context, [rows[0].id], folder)
    seats.states[name] = {"status": "restarting", "finished_at": "2026-01-03T00:00:00Z"}
    seats.log.clear()
    assert remove_collected(context, [rows[0].id], folder)[0] == [rows[0].name]
    assert seats.log == ["stopped", "closed", "removed"]


def test_a_removal_that_was_killed_is_finished_by_another(
    context: Context, seats: Seats, rows: list[Workspace], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its container and its row, and while it was held still."""
    name = context.site.container_name(rows[0].id)
    seats.states[name] = {"status": "running"}
    collect(context, [rows[0].id], folder)
    with monkeypatch.context() as broken, pytest.raises(AtelierError):
        broken.setattr(seats, "remove_volume", lambda name: 1 / 0)
        remove_collected(context, [rows[0].id], folder)
    assert name in seats.gone and len(context.store.all()) == 2
    remove_collected(context, [rows[0].id], folder)
    assert len(context.store.all()) == 1
