"""Backups of seats that do their worst meanwhile, and of files that participants put into the git server."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from atelier.backup import restore, seats
from atelier.backup.manifest import Manifest
from atelier.backup.restic import Source
from atelier.backup.seats import SavedSeat, copy_seat, make_seat_again
from atelier.backup.state_files import WORK, stage_copies
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import id_of
from atelier.common.models import MIB, Workspace
from atelier.containers.context import Context
from atelier.containers.snapshots import SECRETS_LABEL, must_flatten
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import Container, Image, SeatSpec
from support import container, context, open_store, order, refused, site

RUN, SECONDS = "5e7a5e7a", 10.0
DAMAGED = b"SQLite format 3\0" + b"damaged" * 1000


@dataclass
class Docker:
    """One running seat. ``sizes`` are what it has written, each time that it is measured; its copy ends when it was
    measured for the last time, or paused for the second."""

    name: str
    sizes: list[int]
    status: str = "running"
    done: list[str] = field(default_factory=list)
    base: Image = field(default_factory=lambda: Image("sha256:1", ["base"], ("sha256:2",), {}))
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.copied = threading.Event()

    def container_names(self, _: str) -> dict[str, str]:
        return {}

    def inspect(self, name: str) -> Container:
        return container(self.status, name=name, id=self.name)

    def image(self, _: str) -> Image:
        return self.base

    def images(self, _: str) -> list[Image]:
        return []

    def image_tags(self, _: str) -> list[str]:
        return []

    def read(self, *_: object) -> None:
        """No file is there."""

    def written(self, _: str) -> int:
        self.done.append(f"measured {self.status}")
        size = self.sizes.pop(0)
        if not self.sizes:
            self.copied.set()
        return size

    def pause(self, _: str) -> None:
        self.status = "paused"
        self.done.append("paused")
        if self.done.count("paused") == 2:
            self.copied.set()

    def unpause(self, _: str) -> None:
        self.status = "running"
        self.done.append("unpaused")

    def commit(self, name: str, tag: str, config: dict[str, dict[str, str]]) -> Image:
        assert self.copied.wait(SECONDS)
        self.labels = config["Labels"]
        return replace(self.base, tags=[tag])

    def remove_image(self, tag: str, *, force: bool) -> None:
        self.done.append("removed")

    def create_from_copy(self, spec: SeatSpec, base: str, label: str) -> None:
        self.done.append(f"created without {label}")

    def remove(self, *_: str) -> None:
        """Nothing."""

    remove_volume = put = remove


@dataclass
class World:
    here: Context
    row: Workspace
    work: Path

    def copy(self, *sizes: int) -> tuple[Docker, SavedSeat | None]:
        name = self.here.site.container_name(self.row.id)
        docker = Docker(name, list(sizes))
        here = context(self.here.site, self.here.store, docker)
        return docker, copy_seat(here.on(), self.row, RUN, self.work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkspaceStore]:
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def world(tmp_path: Path, store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(seats, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(seats, "_LOOK_SECONDS", 0.01)
    (row,) = store.reserve([order("stranger")])
    return World(context(site(tmp_path), store, None), row, tmp_path / "work")


def test_a_seat_is_measured_before_it_is_paused(world: World) -> None:
    docker, saved = world.copy(MIB)
    assert docker.done == ["measured running", "paused", "unpaused"]
    assert saved is not None and saved.warning is None
    too_large = world.here.site.archive.content_bytes + 1
    with pytest.raises(AtelierError) as error:
        world.copy(too_large)
    assert id_of(error.value.message) == "snapshot.too_large"


def test_a_large_seat_works_on_while_it_is_copied(world: World) -> None:
    docker, saved = world.copy(MIB, 2 * MIB, 100 * MIB)
    assert docker.done[:4] == ["measured running", "paused", "unpaused", "measured running"]
    assert docker.done.count("paused") == 1 and docker.status == "running"
    assert saved is not None and saved.warning is None


def test_a_seat_that_grows_while_it_is_copied_is_paused_until_the_end(world: World) -> None:
    docker, saved = world.copy(MIB, 10_000 * MIB, 10_000 * MIB)
    assert docker.done.count("paused") == 2 and docker.status == "running"
    assert docker.done[3:] == ["measured running", "paused", "unpaused", "measured running"]
    assert saved is not None and "stranger" in str(saved.warning)


def test_what_grew_beyond_the_limit_is_no_copy(world: World) -> None:
    too_large = world.here.site.archive.content_bytes + 1
    docker = Docker("seat", [MIB, too_large, too_large])
    here = context(world.here.site, world.here.store, docker)
    with pytest.raises(AtelierError) as error:
        copy_seat(here.on(), world.row, RUN, world.work)
    assert "stranger" in refused(error, Code.SNAPSHOT_FAILED, "source")
    assert docker.done[-1] == "removed" and docker.status == "running"


def test_a_restored_seat_is_on_no_secrets_unnoticed(world: World) -> None:
    """On the controller it may stand on the copy as well: where its layers are in no folder."""
    docker, _ = world.copy(MIB)
    assert must_flatten(replace(docker.base, labels=docker.labels))
    make_seat_again(context(world.here.site, world.here.store, docker).on(), world.row, "test/snapshot:a-b-c", Path())
    assert docker.done[-1] == f"created without {SECRETS_LABEL}"


def test_a_participants_file_that_begins_like_a_database_is_a_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with open_store(state):
        pass
    attachment = state / "git" / "data" / "attachments" / "0" / "1" / "01234567"
    attachment.parent.mkdir(parents=True)
    attachment.write_bytes(DAMAGED)
    databases, _ = stage_copies(state, tmp_path / "work")
    assert databases == ["registry.sqlite3"]


@pytest.mark.parametrize("name", ["registry.sqlite3", "git/data/git.sqlite3", "git/data/forgejo.db"])
def test_a_damaged_database_of_the_platform_is_not_saved_as_if_it_were_whole(tmp_path: Path, name: str) -> None:
    file = tmp_path / "state" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(DAMAGED)
    with pytest.raises(sqlite3.DatabaseError):
        stage_copies(tmp_path / "state", tmp_path / "work")


@pytest.mark.parametrize("password", ["plain", "with/slash", "a:b/c", "8000"])
def test_a_password_in_the_address_is_refused(tmp_path: Path, password: str) -> None:
    source = Source(f"rest:https://somebody:{password}@host/", tmp_path / "key")
    with pytest.raises(AtelierError) as error:
        source.check(tmp_path)
    assert password not in refused(error, Code.VALIDATION_ERROR, "repository")


@pytest.mark.parametrize("host", ["host:8000", "[::1]:8000", "somebody@host:8000"])
def test_an_at_sign_in_the_path_is_no_password(tmp_path: Path, host: str) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("secret")
    assert Source(f"rest:https://{host}/me@example.org/", tmp_path / "key").check(tmp_path / "state") == {}


def test_an_error_that_nobody_thought_of_is_one_seats_alone(
    world: World, tmp_path: Path, store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(restore, "make_seat_again", fail)
    monkeypatch.setattr(restore, "restore_folder", lambda _: tmp_path / "restore")
    work = tmp_path / "restore" / "files" / str(tmp_path).lstrip("/") / WORK
    work.mkdir(parents=True)
    images = {world.row.id: "test/snapshot:a-b-c"}
    Manifest("2027-03-01T12:00:00.000Z", "test", "test", [], images, {}, [], []).write(work / "manifest.json")
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("secret")
    here = context(site(tmp_path), store, Docker("seat", []))
    outcome = restore.restore_seats(here, Source("/elsewhere", tmp_path / "key"))
    assert outcome["missing"] == ["stranger"]
    assert "ValueError" in str(store.get(id=world.row.id).error)
