"""Making backups: saved workspaces, missing ones with the reason, and the record of a backup."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from atelier.backup import create, seats
from atelier.backup.create import LastBackup, failures_noted, last_backup
from atelier.backup.manifest import SavedImages, last_copies, run_of
from atelier.backup.restic import Source
from atelier.backup.seats import SavedSeat
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message, as_message, id_of, read
from atelier.common.models import Site, Status, Workspace
from atelier.containers.context import Context
from atelier.containers.snapshots import must_flatten
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import Image, Size
from backup_parts import Docker, several
from support import context, open_store, order, refused, row, site

AWAY = AtelierError(Code.NODE_UNAVAILABLE, as_message("Docker on beta does not answer."), field="site.nodes")
BUSY = AtelierError(Code.WORKSPACE_BUSY, Message("held.backup"))


def test_copies_take_bounded_space() -> None:
    rows = [row(id=f"{number:012x}", name=str(number)) for number in range(4)]
    half = seats._BATCH_BYTES // 2
    sizes = {"0": Size(half, half), "1": Size(half, half), "2": Size(9 * half, 9 * half), "3": Size(0, 1)}
    found = seats.batches(rows, sizes, lambda id: str(int(id, 16)))
    assert [[found.name for found in batch] for batch in found] == [["0", "1"], ["2"], ["3"]]


class Stored:
    """A repository that takes streams."""

    def store_stream(self, name: str, pieces: list[bytes], tags: list[str]) -> str:
        return "5e7a"


def backup(here: Context, folder: Path) -> create._Backup:
    return create._Backup(here, Stored(), folder / "work", "5e7a5e7a")  # type: ignore[arg-type]


def save(folder: Path, store: WorkspaceStore, docker: Docker) -> create._Backup:
    saved = backup(context(site(folder), store, docker), folder)
    saved.save_seats()
    return saved


def test_a_workspace_without_room_for_its_copy_is_missing_and_the_others_are_saved(
    tmp_path: Path, docker: Docker
) -> None:
    here, mib = site(tmp_path), 1024**2
    with open_store(tmp_path) as store:
        rows = store.reserve([order(name) for name in ("one", "large", "huge", "two")])
        for row, own in zip(rows, (1, 900, 5000, 1), strict=True):
            store.update(row.id, status=Status.STOPPED)
            docker.own[here.container_name(row.id)] = own * mib
        docker.room = 1000 * mib
        saved = save(tmp_path, store, docker)
    assert [row.name for row in rows if row.id in saved.seats] == ["one", "two"]
    assert {row.name: id_of(saved.missing[row.id].params["first"]) for row in rows if row.id in saved.missing} == {
        "large": "backup.no_room",
        "huge": "backup.no_room",
    }
    assert {tag for tags in docker.saved for tag in tags} == {seat.image for seat in saved.seats.values()}


def test_a_workspace_with_more_than_one_may_have_is_missing(tmp_path: Path, docker: Docker) -> None:
    here = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("sparse")])
        store.update(row.id, status=Status.STOPPED)
        docker.own[here.container_name(row.id)] = here.archive.content_bytes + 1
        docker.room = 10 * docker.own[here.container_name(row.id)]
        saved = save(tmp_path, store, docker)
    assert id_of(saved.missing[row.id].params["first"]) == "snapshot.too_large"
    assert (docker.tags, saved.seats) == ([], {})


def test_a_workspace_whose_reset_or_upgrade_was_killed_is_saved(tmp_path: Path, docker: Docker) -> None:
    """Its container has the name of a kept one."""
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("one")])
        store.update(row.id, status=Status.STOPPED)
        name = site(tmp_path).container_name(row.id)
        docker.own, docker.room = {f"{name}-kept-20260101t000000000000z": 1, f"{name}-new": 1}, 1024**4
        saved = save(tmp_path, store, docker)
    assert (saved.seats[row.id].container, saved.missing) == (name, {})


def test_a_checkpoint_that_is_dropped_meanwhile_is_not_saved(
    tmp_path: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.room, docker.tags = 1024**4, ["kept"]
    monkeypatch.setattr(
        create, "copy_seat", lambda _, row, *__: SavedSeat(f"test-{row.id}", "copy", ["copy", "kept", "dropped"])
    )
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("one")])
        store.update(row.id, status=Status.STOPPED)
        docker.own = {site(tmp_path).container_name(row.id): 1}
        (archive,) = save(tmp_path, store, docker).archives
    assert docker.saved == [["copy", "kept"]]
    assert archive == SavedImages("5e7a", ["copy", "kept"])


# --- Several machines ------------------------------------------------------------------------------------------------


@dataclass
class Dockers:
    """The engines of an installation with the nodes alpha and beta. Those of ``away`` do not answer."""

    by_node: dict[str, Docker]
    away: set[str]
    failure: AtelierError = AWAY

    def of(self, node: str) -> Docker:
        if node in self.away:
            raise self.failure
        return self.by_node[node]

    def route(self, node: str) -> None:
        """Nobody asks a seat here."""


def seats_on(store: WorkspaceStore, here: Site, dockers: Dockers) -> dict[str, Workspace]:
    rows = dict(zip(dockers.by_node, store.reserve([order(name) for name in dockers.by_node]), strict=True))
    for node, made in rows.items():
        store.update(made.id, status=Status.STOPPED, node=node)
        dockers.by_node[node].own = {here.container_name(made.id): 1}
        dockers.by_node[node].room = 1024**4
    return rows


@pytest.fixture
def dockers() -> Dockers:
    return Dockers({node: Docker() for node in ("controller", "alpha", "beta")}, set())


def test_each_machine_s_workspaces_are_saved_by_its_docker(tmp_path: Path, dockers: Dockers) -> None:
    here = several(tmp_path)
    with open_store(tmp_path) as store:
        rows = seats_on(store, here, dockers)
        saved = backup(replace(context(here, store, None), engines=dockers), tmp_path)  # type: ignore[arg-type]
        saved.save_seats()
        saved.save_recordings()
    assert {archive.node: list(archive.tags) for archive in saved.archives} == {
        node: [saved.seats[made.id].image] for node, made in rows.items()
    }
    assert (saved.missing, saved.away) == ({}, {})
    assert saved.recordings == {}, "machines without a recorder have none"


@pytest.mark.parametrize("code", [Code.NODE_UNAVAILABLE, Code.ENGINE_ERROR, Code.DISK_FULL])
def test_a_machine_that_fails_keeps_no_other_from_being_saved(tmp_path: Path, dockers: Dockers, code: Code) -> None:
    here = several(tmp_path)
    dockers.away, dockers.failure = {"beta"}, AtelierError(code, AWAY.sentence)
    with open_store(tmp_path) as store:
        rows = seats_on(store, here, dockers)
        saved = backup(replace(context(here, store, None), engines=dockers), tmp_path)  # type: ignore[arg-type]
        saved.save_seats()
    assert saved.seats.keys() == {rows["controller"].id, rows["alpha"].id}
    assert (saved.missing, saved.away) == ({rows["beta"].id: AWAY.sentence}, {"beta": AWAY.sentence})


def test_workspaces_of_machines_that_the_inventory_lacks_are_missing(tmp_path: Path, dockers: Dockers) -> None:
    """A backup without the inventory has such rows; it must not replace complete ones."""
    with open_store(tmp_path) as store:
        rows = seats_on(store, several(tmp_path), dockers)
        store.update(rows["beta"].id, status=Status.ERROR, error=Message("machine_removed", node="gamma"))
        alone = replace(context(site(tmp_path), store, None), engines=dockers)  # type: ignore[arg-type]
        saved = backup(alone, tmp_path)
        saved.save_seats()
    assert {id: id_of(why) for id, why in saved.missing.items()} == {rows["alpha"].id: "docker.node_unknown"}


def test_a_workspace_that_was_moved_meanwhile_is_no_longer_copied(tmp_path: Path, dockers: Dockers) -> None:
    with open_store(tmp_path) as store:
        row = seats_on(store, several(tmp_path), dockers)["alpha"]
        store.update(row.id, node="beta")
        everywhere = replace(context(several(tmp_path), store, None), engines=dockers)  # type: ignore[arg-type]
        assert seats.copy_seat(everywhere.on("alpha"), row, "5e7a5e7a", tmp_path / "work") is None


def test_a_restored_seat_of_a_node_stands_on_no_secrets_for_long(tmp_path: Path, dockers: Dockers) -> None:
    """Its image has them, and would travel as a layer of the next snapshot."""
    base = Image("sha256:1", ["one"], ("sha256:2",), {})
    with open_store(tmp_path) as store:
        everywhere = replace(context(several(tmp_path), store, None), engines=dockers)  # type: ignore[arg-type]
        labels = {node: seats._config(everywhere.on(node), row(), base)["Labels"] for node in ("controller", "alpha")}
    for node in ("controller", "alpha"):
        assert must_flatten(replace(base, labels=labels[node]))


# --- Which backups are kept ------------------------------------------------------------------------------------------


class Repository:
    """Takes restic's place. It has room for so many snapshots; the rule ``last`` is the one that it knows."""

    def __init__(self, room: int = 100) -> None:
        self.found: list[dict[str, Any]] = []
        self.room, self.prunes, self.tried = room, 0, 0

    def __call__(self, *_: object) -> Repository:
        return self

    def add(self, *tags: str) -> str:
        if len(self.found) == self.room:
            raise AtelierError(Code.DISK_FULL, Message("backup.repository_full", repository="/srv"), field="repository")
        self.tried += 1
        self.found.append({"id": f"{self.tried:08x}", "tags": list(tags)})
        return str(self.found[-1]["id"])

    def add_backups(self, *names: str) -> None:
        """Whole ones, each with an archive."""
        for name in names:
            self.add("atelier-images", f"run-{name}")
            self.add("atelier-state", f"run-{name}")

    def store_stream(self, _: str, __: object, tags: list[str]) -> str:
        return self.add(*tags)

    def store_folder(self, _: Path, __: object, tags: list[str]) -> str:
        return self.add(*tags)

    def open(self, *, create: bool) -> bool:
        return False

    def check_owner(self, _: str) -> None:
        """It is this installation's."""

    def snapshots(self, tag: str) -> list[dict[str, Any]]:
        return [snapshot for snapshot in self.found if tag in snapshot["tags"]]

    def forgettable(self, tag: str, keep: dict[str, int]) -> list[str]:
        return [snapshot["id"] for snapshot in self.snapshots(tag)[: -keep["last"]]] if keep else []

    def remove(self, ids: list[str]) -> None:
        self.found = [snapshot for snapshot in self.found if snapshot["id"] not in ids]
        self.prunes += 1

    @property
    def backups(self) -> list[str]:
        return [run_of(snapshot).removeprefix("run-") for snapshot in self.snapshots("atelier-state")]


@dataclass
class Saving:
    """An installation with the seats of those names, and its repository."""

    here: Context
    source: Source
    docker: Docker
    repository: Repository
    rows: dict[str, Workspace]

    def back_up(self, *, without: Sequence[str] = (), **keep: int) -> dict[str, Any]:
        """A seat of ``without`` is larger than one may be."""
        for name, made in self.rows.items():
            size = self.here.site.archive.content_bytes + 1 if name in without else 1
            self.docker.own[self.here.site.container_name(made.id)] = size
        return create.back_up(self.here, self.source, keep=keep, create=False)

    def fail(self, *, without: Sequence[str], **keep: int) -> str:
        with pytest.raises(AtelierError) as error:
            self.back_up(without=without, **keep)
        assert error.value.code is Code.BACKUP_FAILED
        return self.repository.backups[-1]


@pytest.fixture
def saving(tmp_path: Path, source: Source, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Saving]:
    repository, docker.room = Repository(), 1024**5
    monkeypatch.setattr(create, "Restic", repository)
    with open_store(tmp_path / "state") as store:
        rows = {made.name: made for made in store.reserve([order("one"), order("two")])}
        for made in rows.values():
            store.update(made.id, status=Status.STOPPED)
        yield Saving(context(site(tmp_path / "state"), store, docker), source, docker, repository, rows)


def test_old_backups_are_forgotten_also_when_a_seat_could_not_be_saved(saving: Saving) -> None:
    saving.repository.add_backups("a", "b", "c")
    first = saving.fail(without=["one"], last=1)
    assert saving.repository.backups == ["c", first], "the newest that has the seat, and the newest"
    second = saving.fail(without=["one"], last=1)
    assert saving.repository.backups == ["c", second]
    third = saving.fail(without=["two"], last=1)
    assert saving.repository.backups == [second, third], "each seat's last copy"
    assert saving.back_up(last=1)["forgotten"] == 2
    assert len(saving.repository.backups) == 1
    assert {run_of(found) for found in saving.repository.found} == {f"run-{saving.repository.backups[0]}"}


def test_a_seat_that_was_never_saved_keeps_one_backup_at_most(saving: Saving) -> None:
    for _ in range(5):
        last = saving.fail(without=["one"], last=2)
    assert len(saving.repository.backups) == 2
    assert saving.repository.backups[-1] == last


def test_the_last_copy_of_a_seat_whose_container_is_gone_is_kept(saving: Saving) -> None:
    saving.repository.add_backups("a")
    saving.rows.pop("one")
    assert [saving.back_up(last=1)["forgotten"] for _ in range(2)] == [0, 1]
    assert saving.repository.backups[0] == "a" and len(saving.repository.backups) == 2


def test_a_machine_that_was_away_is_missing_in_its_backup(saving: Saving) -> None:
    tags = {"a": [], "b": ["without-beta"], "c": [], "d": ["without-beta", "without-5e7a"], "e": ["without-beta"]}
    assert last_copies([{"id": id, "tags": found} for id, found in tags.items()]) == {"c"}
    assert last_copies([{"id": "a", "tags": None}]) == last_copies([]) == set()


def test_a_full_repository_gets_room_by_the_rules_and_the_backup_is_made(saving: Saving) -> None:
    saving.repository.add_backups("a", "b", "c")
    saving.repository.room = 7
    outcome = saving.back_up(last=1)
    assert (outcome["forgotten"], len(saving.repository.backups)) == (3, 1)
    assert last_backup(saving.here.site.state_dir).error is None


def test_a_full_repository_of_which_nothing_may_be_forgotten_is_an_error(saving: Saving) -> None:
    saving.repository.add_backups("a", "b", "c")
    saving.repository.room = 7
    for keep in ({}, {"last": 3}):
        with pytest.raises(AtelierError) as error:
            saving.back_up(**keep)
        assert "atelier_backup_keep" in refused(error, Code.DISK_FULL, "repository")
        # What it stored so far is removed, so that there is room for a lock of those who free some.
        assert (saving.repository.backups, len(saving.repository.found)) == (["a", "b", "c"], 6)
    assert (saving.repository.prunes, saving.repository.tried) == (2, 8), "each is tried once"


# --- How it ended ----------------------------------------------------------------------------------------------------


def test_how_the_last_one_ended_is_read_whatever_is_there(tmp_path: Path) -> None:
    assert last_backup(tmp_path) == LastBackup()
    (tmp_path / "backup").mkdir()
    for text in ("", "[]", '{"other": 1}'):
        (tmp_path / "backup" / "status.json").write_text(text)
        assert last_backup(tmp_path) == LastBackup()


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (BUSY, "Another backup"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (sqlite3.DatabaseError("file is not a database"), "file is not a database"),
    ],
)
def test_every_failure_of_a_backup_is_noted(
    tmp_path: Path, source: Source, docker: Docker, monkeypatch: pytest.MonkeyPatch, error: Exception, noted: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    state = tmp_path / "state"
    with open_store(state) as store:
        here = context(site(state), store, docker)
        monkeypatch.setattr(*((Locks, "backup") if error is BUSY else (create, "_back_up")), fail)
        with pytest.raises(type(error)), failures_noted(state):
            create.back_up(here, source, keep={}, create=True)
        assert noted in read(last_backup(state).error or {})
        for changed, keep in ((replace(source, key_file=tmp_path / "missing"), {}), (source, {"dayly": 7})):
            (state / "backup" / "status.json").unlink()
            with pytest.raises(AtelierError) as refusal, failures_noted(state):
                create.back_up(here, changed, keep=keep, create=True)
            assert str(refusal.value) == read(last_backup(state).error or {})


def test_nothing_is_saved_in_the_middle_of_a_restore(tmp_path: Path, source: Source, docker: Docker) -> None:
    state = tmp_path / "state"
    with open_store(state) as store:
        (state / "backup").mkdir()
        (state / "backup" / "restoring").touch()
        with pytest.raises(AtelierError) as error:
            create.back_up(context(site(state), store, docker), source, keep={}, create=True)
    assert error.value.code is Code.WORKSPACE_BUSY
    assert id_of(error.value.message) == "held.restore"


def test_snapshots_of_one_run_are_known_by_its_tag() -> None:
    assert run_of({"tags": ["atelier-state", "run-5e7a"]}) == "run-5e7a"
    assert run_of({"tags": None}) == run_of({}) == ""
