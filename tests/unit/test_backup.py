"""Backups: the settings, restic as it is run, copies of what changes, what becomes of a restored database."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from atelier.backup import create, restore, seats
from atelier.backup.create import LastBackup, failures_noted, last_backup
from atelier.backup.manifest import FORMAT, Archive, Manifest, read_manifest, run_of
from atelier.backup.restic import Restic, Source, keep_options, variables_in
from atelier.backup.restore import Fetched, _check_addresses, _holds, fetch_backup, place_backup, restore_folder
from atelier.backup.seats import SavedSeat
from atelier.backup.state_files import (
    MANIFEST,
    WORK,
    check_registry,
    excluded,
    place_state,
    registry_copy,
    stage_copies,
)
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message, as_message, id_of, read
from atelier.common.models import Node, Site, Status, Workspace
from atelier.containers.snapshots import must_flatten
from atelier.database.job_store import Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.interface import Container, Image, Size
from atelier.host.installation import newer_version, of_checkout
from support import container, context, open_store, order, refused, row, site

CANARY = "canary-of-the-storage"
MANIFEST_OF_NOTHING = Manifest("2027-03-01T12:00:00.000Z", "test", "test", [], {}, {}, [], [])


def private(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(str(tmp_path / "repository"), private(tmp_path / "password", "secret\n"))


# --- Settings --------------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused_with_their_field(tmp_path: Path, source: Source) -> None:
    state = tmp_path / "state"
    assert source.check(state) == {}
    readable = private(tmp_path / "readable", "x")
    readable.chmod(0o640)
    lines = private(tmp_path / "lines", "A=1\n\nno variable\n")
    cases = [
        (replace(source, repository=f"rest:https://somebody:{CANARY}@host/"), "repository"),
        (replace(source, repository="backup"), "repository"),
        (replace(source, repository=str(state / "backup")), "repository"),
        (replace(source, key_file=tmp_path / "missing"), "key_file"),
        (replace(source, key_file=private(tmp_path / "empty", "\n")), "key_file"),
        (replace(source, key_file=readable), "key_file"),
        (replace(source, environment_file=tmp_path / "missing"), "environment_file"),
        (replace(source, environment_file=readable), "environment_file"),
        (replace(source, environment_file=lines), "environment_file"),
    ]
    for wrong, field in cases:
        with pytest.raises(AtelierError) as error:
            wrong.check(state)
        assert CANARY not in refused(error, Code.VALIDATION_ERROR, field)
    for elsewhere in ("sftp:backup@host:/srv", "s3:https://host/bucket"):
        assert replace(source, repository=elsewhere).check(state) == {}


def test_the_environment_file_is_read_as_a_shell_would(tmp_path: Path) -> None:
    text = "# the storage\nAWS_ACCESS_KEY_ID=abc\nexport AWS_SECRET_ACCESS_KEY='a b=c'\nEMPTY=\nQUOTED=\"x\"\n"
    found = {"AWS_ACCESS_KEY_ID": "abc", "AWS_SECRET_ACCESS_KEY": "a b=c", "EMPTY": "", "QUOTED": "x"}
    assert variables_in(private(tmp_path / "file", text)) == found


def test_rules_are_restics_own() -> None:
    assert keep_options({"daily": 7, "last": "3"}) == ["--keep-daily=7", "--keep-last=3"]
    for keep in ({"dayly": 7}, {"daily": 0}, {"daily": -1}, {"daily": "--prune"}):
        with pytest.raises(AtelierError) as error:
            keep_options(keep)
        refused(error, Code.VALIDATION_ERROR, "keep")


# --- restic ----------------------------------------------------------------------------------------------------------

FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$FOLDER/words"
env >"$FOLDER/environment"
if [ -n "$(cat "$FOLDER/says" 2>/dev/null)" ]; then
  cat "$FOLDER/says" >&2
  # Deaf, as restic is while it waits for ssh.
  [ -e "$FOLDER/hangs" ] && trap "" TERM && for i in $(seq 600); do sleep 0.1; done
  exit 1
fi
case $1 in
  backup) cat >"$FOLDER/stored"; touch "$FOLDER/ended"; echo '{"message_type":"status"}'
    echo '{"message_type":"summary","snapshot_id":"5e7a"}' ;;
  dump) printf 'first '; printf 'second' ;;
  snapshots) printf '[{"id":"b","time":"2027-03-02","hostname":"h"},{"id":"a","time":"2027-03-01","hostname":"h"}]' ;;
esac
"""


@pytest.fixture
def restic(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restic]:
    """restic's place is taken by a script that notes how it is called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "restic"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    variables = {"FOLDER": str(tmp_path), "AWS_SECRET_ACCESS_KEY": CANARY}
    return Restic(source, variables, "h", tmp_path / "cache")  # type: ignore[return-value]


def test_secrets_are_on_no_command_line(tmp_path: Path, restic: Restic) -> None:
    assert restic.store_stream("images.tar", iter([b"a", b"b"]), ["one", "two"]) == "5e7a"
    assert (tmp_path / "stored").read_bytes() == b"ab"
    assert b"".join(restic.read("5e7a", "images.tar")) == b"first second"
    assert [found["id"] for found in restic.snapshots("one", "two")] == ["a", "b"]
    restic.forget("one", {"daily": 2})
    restic.forget("one", {})
    restic.remove(["a"])
    words = (tmp_path / "words").read_text()
    assert CANARY not in words and "secret" not in words
    assert CANARY in (tmp_path / "environment").read_text()
    assert "--keep-daily=2" in words and words.count("forget") == 2


def test_a_stream_that_breaks_off_is_not_stored(tmp_path: Path, restic: Restic) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        restic.store_stream("images.tar", pieces(), [])
    assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ("Fatal: wrong password or no key found", Code.VALIDATION_ERROR, "key_file"),
        (
            "Fatal: unable to open config file: stat /srv/config: no such file or directory\n"
            "Is there a repository at the following location?\n/srv",
            Code.VALIDATION_ERROR,
            "repository",
        ),
        (
            "Fatal: unable to open config file: Stat: Access Denied\n"
            "Is there a repository at the following location?\ns3:/x",
            Code.BACKUP_FAILED,
            "repository",
        ),
        ("write /srv/x: no space left on device", Code.DISK_FULL, "repository"),
        ("unable to create lock in backend: repository is already locked by PID 5", Code.BACKUP_FAILED, "repository"),
        ("Fatal: something else", Code.BACKUP_FAILED, "repository"),
    ],
)
def test_what_restic_says_becomes_an_error(tmp_path: Path, restic: Restic, said: str, code: Code, field: str) -> None:
    (tmp_path / "says").write_text(said)
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    refused(error, code, field)


@pytest.mark.parametrize(
    ("said", "expected", "reason"),
    [
        (
            "Stat(<config/>) returned error, retrying after 3.4s: Stat: Wrong key",
            "backup.no_answer_but",
            "Stat: Wrong key",
        ),
        ("connecting", "backup.no_answer", ""),
    ],
)
def test_a_storage_that_does_not_answer_is_told_of_in_time(
    tmp_path: Path, restic: Restic, monkeypatch: pytest.MonkeyPatch, said: str, expected: str, reason: str
) -> None:
    monkeypatch.setattr("atelier.backup.restic._ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("atelier.backup.restic._END_SECONDS", 0.2)
    begun = time.monotonic()
    (tmp_path / "says").write_text(said)
    (tmp_path / "hangs").touch()
    with pytest.raises(AtelierError) as error:
        restic.open(create=True)
    refused(error, Code.BACKUP_FAILED, "repository")
    assert id_of(error.value.message) == expected
    assert reason in str(error.value)
    assert time.monotonic() - begun < 10
    assert "init" not in (tmp_path / "words").read_text()


def test_a_bucket_that_is_missing_is_made(tmp_path: Path, restic: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    """restic tries for long to find some of them."""
    monkeypatch.setattr("atelier.backup.restic._ANSWER_SECONDS", 0.5)
    (tmp_path / "says").write_text(
        "Stat returned error, retrying after 3.4s: Stat: The specified bucket does not exist."
    )
    (tmp_path / "hangs").touch()
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    refused(error, Code.VALIDATION_ERROR, "repository")
    assert error.value.details["missing"] is True


@pytest.mark.parametrize(
    "said",
    [
        "Stat: <config/> does not exist",
        "client.GetObject: The specified key does not exist.",
        "RESPONSE 404: The specified blob does not exist.",
        "storage: object doesn't exist",
        "Object Not Found",
    ],
)
def test_old_versions_tell_of_a_missing_repository_in_words(tmp_path: Path, restic: Restic, said: str) -> None:
    (tmp_path / "says").write_text(
        f"Fatal: unable to open config file: {said}\nIs there a repository at the following location?"
    )
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    assert id_of(error.value.message) == "backup.no_repository"


def test_a_check_that_fails_is_damage_but_for_a_lock(tmp_path: Path, restic: Restic) -> None:
    (tmp_path / "says").write_text("pack 1234 does not exist\nFatal: repository contains errors")
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.damaged"
    (tmp_path / "says").write_text(
        "pack 1234: does not exist\nopen /srv/12/1234: no such file or directory\nFatal: repository contains errors"
    )
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.damaged"
    (tmp_path / "says").write_text("unable to create lock in backend")
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.locked"


def test_no_repository_is_made_where_something_else_is(tmp_path: Path, restic: Restic) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "data").mkdir()
    missing = "unable to open config file: no such file or directory\nIs there a repository at the following location?"
    (tmp_path / "says").write_text(missing)
    with pytest.raises(AtelierError) as error:
        restic.open(create=True)
    refused(error, Code.VALIDATION_ERROR, "repository")
    assert "init" not in (tmp_path / "words").read_text()


# --- The state folder ------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=x", "-c", "user.email=x@x"]
    return subprocess.run(
        ["git", "-C", str(folder), *name, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_what_changes_while_it_is_read_is_of_one_moment(tmp_path: Path) -> None:
    state, work, saved = tmp_path / "state", tmp_path / "work", tmp_path / "saved"
    with open_store(state) as store:
        store.reserve([order("one")])
    bare, clone = state / "git" / "data" / "app.git", tmp_path / "clone"
    bare.parent.mkdir(parents=True)
    with closing(sqlite3.connect(bare.parent / "git.sqlite3")) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('ada');")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    git(tmp_path, "clone", "-q", str(bare), str(clone))
    git(clone, "commit", "-q", "--allow-empty", "-m", "first")
    git(clone, "push", "-q", "origin", "HEAD:main")
    first = git(bare, "rev-parse", "main")
    (state / "names.key").write_text("key")
    (state / "platform.json").write_text("{}")

    databases, repositories = stage_copies(state, work)
    assert databases == ["git/data/git.sqlite3", "registry.sqlite3"]
    assert repositories == ["git/data/app.git"]
    # Pushed between the copy and the reading, with its reference and without one of its objects.
    git(clone, "commit", "-q", "--allow-empty", "-m", "second")
    git(clone, "push", "-q", "origin", "HEAD:main")
    git(clone, "push", "-q", "origin", "HEAD:later")
    subprocess.run(["cp", "-a", str(state), str(saved)], check=True)
    for path in excluded(saved, databases):
        found = Path(path)
        if found.is_file():
            found.unlink()
    second = git(bare, "rev-parse", "main")
    (saved / "git/data/app.git/objects" / second[:2] / second[2:]).unlink()
    (saved / WORK).parent.mkdir()
    subprocess.run(["cp", "-a", str(work), str(saved / WORK)], check=True)

    target = tmp_path / "target"
    manifest = replace(MANIFEST_OF_NOTHING, databases=databases, repositories=repositories)
    for _ in range(2):
        place_state(saved, manifest, target)
        restored = target / "git/data/app.git"
        assert git(restored, "for-each-ref", "--format=%(refname) %(objectname)") == f"refs/heads/main {first}"
        assert "missing" not in git(restored, "fsck", "--connectivity-only")
        with closing(sqlite3.connect(target / "git/data/git.sqlite3")) as db:
            assert db.execute("SELECT name FROM users").fetchall() == [("ada",)]
        assert (target / "names.key").read_text() == "key"
        assert not (target / "registry.sqlite3").exists() and not (target / "backup").exists()
        assert not (target / "platform.json").exists()


def test_a_repository_that_is_deleted_during_the_backup_is_not_restored(tmp_path: Path) -> None:
    state, saved = tmp_path / "state", tmp_path / "saved"
    for name in ("gone", "kept"):
        git(tmp_path, "init", "-q", "--bare", str(state / "git" / "data" / f"{name}.git"))
    (saved / WORK).mkdir(parents=True)
    databases, repositories = stage_copies(state, saved / WORK)
    shutil.rmtree(state / "git/data/gone.git")
    shutil.copytree(state / "git", saved / "git")
    manifest = replace(MANIFEST_OF_NOTHING, databases=databases, repositories=repositories)
    place_state(saved, manifest, tmp_path / "target")
    data = tmp_path / "target/git/data"
    assert [found.name for found in data.iterdir()] == ["kept.git"]
    assert git(data / "kept.git", "rev-parse", "--is-bare-repository") == "true"


def test_nothing_goes_on_in_a_restored_database(tmp_path: Path) -> None:
    here = site(tmp_path / "new")
    saved = restore_folder(here) / "files" / str(here.state_dir).lstrip("/")
    work = saved / WORK
    work.mkdir(parents=True)
    with open_store(tmp_path / "old") as store:
        made, ready = store.reserve([order("made"), order("ready")])
        store.update(ready.id, status=Status.RUNNING)
        job = Jobs(store).create("delete", [ready.id], {}, "somebody")
    databases, _ = stage_copies(tmp_path / "old", work)
    replace(MANIFEST_OF_NOTHING, databases=databases).write(work / MANIFEST)
    for _ in range(2):
        place_backup(here)
        with open_store(here.state_dir) as store:
            assert Jobs(store).get(job.id).state is JobState.CANCELED
            assert (store.get(id=made.id).status, store.get(id=ready.id).status) == (Status.ERROR, Status.RUNNING)
            store.delete(made.id)


def test_a_backup_of_a_newer_atelier_is_refused(tmp_path: Path) -> None:
    file = tmp_path / MANIFEST
    with_archive = replace(MANIFEST_OF_NOTHING, archives=[Archive("5e7a", ["x"])], images={"0" * 12: "x"})
    with_archive.write(file)
    assert read_manifest(file) == with_archive
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": FORMAT + 1, "more": 1}))
    with pytest.raises(AtelierError) as error:
        read_manifest(file)
    refused(error, Code.VALIDATION_ERROR, "snapshot")
    with open_store(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        check_registry(tmp_path / "registry.sqlite3")
        db.execute("PRAGMA user_version = 1000")
    with pytest.raises(AtelierError) as error:
        check_registry(tmp_path / "registry.sqlite3")
    refused(error, Code.VALIDATION_ERROR, "snapshot")


def test_other_settings_are_refused_with_their_names(tmp_path: Path) -> None:
    here = site(tmp_path)
    for name, setting in (("instance", "atelier_instance"), ("image_prefix", "atelier_image_prefix")):
        other = replace(MANIFEST_OF_NOTHING, **{name: "x"})  # type: ignore[arg-type]
        with pytest.raises(AtelierError) as error:
            other.check(here)
        assert f"-e {setting}=" in refused(error, Code.VALIDATION_ERROR, setting)
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("one")])
    file = registry_copy(tmp_path / "work")
    stage_copies(tmp_path, tmp_path / "work")
    assert _check_addresses(here, file) == 1
    for column, value, field in (
        ("address", "10.77.0.1", "atelier_network_open_subnet"),
        ("proxy_mode", "logging", "atelier_enable_proxy"),
    ):
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"UPDATE workspaces SET {column} = ? WHERE id = ?", (value, made.id))  # noqa: S608
            db.commit()
        with pytest.raises(AtelierError) as error:
            _check_addresses(here, file)
        refused(error, Code.VALIDATION_ERROR, field)


def test_workspaces_and_archives_would_be_lost(tmp_path: Path) -> None:
    assert _holds(tmp_path / "none") == 0
    with open_store(tmp_path) as store:
        store.reserve([order("one"), order("two")])
    (tmp_path / "archives" / "spring").mkdir(parents=True)
    assert _holds(tmp_path) == 3
    (tmp_path / "registry.sqlite3").write_bytes(b"damaged" * 1000)
    assert _holds(tmp_path) == 2


# --- Reading a backup ------------------------------------------------------------------------------------------------


class Repository:
    """Takes restic's place: the snapshots are folders. Reading the one that ``killed`` names ends halfway."""

    def __init__(self, here: Site, folder: Path) -> None:
        self._state, self._folder, self.killed = str(here.state_dir).lstrip("/"), folder, ""
        self.read_ones: list[str] = []

    def __call__(self, *_: object) -> Repository:
        return self

    def add(self, id: str) -> Path:
        """A snapshot of an installation without workspaces; returns its state folder."""
        state = self._folder / id / self._state
        (state / WORK).mkdir(parents=True)
        (state / "id").write_text(id)
        with open_store(self._folder / f"{id}-live"):
            pass
        databases, _ = stage_copies(self._folder / f"{id}-live", state / WORK)
        replace(MANIFEST_OF_NOTHING, databases=databases).write(state / WORK / MANIFEST)
        return state

    def open(self, *, create: bool) -> bool:
        return False

    def check(self) -> None:
        """Nothing."""

    def snapshots(self, *_: str) -> list[dict[str, str]]:
        return [{"id": found.name, "short_id": found.name, "time": ""} for found in sorted(self._folder.glob("?"))]

    def restore(self, snapshot: str, target: Path) -> None:
        self.read_ones.append(snapshot)
        shutil.copytree(self._folder / snapshot, target)
        if snapshot == self.killed:
            raise KeyboardInterrupt


@dataclass
class Machine:
    """A machine on which a backup is restored."""

    here: Site
    source: Source
    repository: Repository

    def fetch(self, snapshot: str | None = None, *, replace: bool = False) -> Fetched:
        return fetch_backup(self.here, self.source, snapshot, lambda *_: None, newer_version, replace=replace)


@pytest.fixture
def machine(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Machine:
    here = site(tmp_path / "state")
    repository = Repository(here, tmp_path / "snapshots")
    monkeypatch.setattr(restore, "Restic", repository)
    return Machine(here, source, repository)


def test_a_restore_is_refused_while_what_it_replaces_is_saved(machine: Machine) -> None:
    """That may forget the backup which is to be restored."""
    machine.repository.add("a")
    with open_store(machine.here.state_dir):
        pass
    with Locks(machine.here.state_dir).backup(), pytest.raises(AtelierError) as error:
        machine.fetch(replace=True)
    assert error.value.code is Code.WORKSPACE_BUSY
    assert not restore_folder(machine.here).exists()
    assert machine.fetch(replace=True).snapshot == "a"


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_removed(machine: Machine) -> None:
    state = machine.repository.add("a")
    assert machine.fetch() == Fetched("a", MANIFEST_OF_NOTHING.taken_at, 0, False)
    noted = asdict(of_checkout()) | {"version": "0.100.0", "only newer ones know": 1}
    state = machine.repository.add("b")
    (state / "installed.json").write_text(json.dumps(noted))
    with pytest.raises(AtelierError) as error:
        machine.fetch()
    assert "0.100.0" in refused(error, Code.VALIDATION_ERROR, "snapshot")


def test_a_damaged_database_is_replaced_only_if_that_is_wanted(machine: Machine) -> None:
    machine.repository.add("a")
    machine.here.state_dir.mkdir()
    assert not machine.fetch().replaces
    (machine.here.state_dir / "registry.sqlite3").write_bytes(b"damaged" * 1000)
    with pytest.raises(AtelierError) as error:
        machine.fetch()
    refused(error, Code.VALIDATION_ERROR, "replace")
    assert machine.fetch(replace=True).replaces


def test_what_is_left_of_an_installation_without_its_database_is_removed_first(machine: Machine) -> None:
    machine.repository.add("a")
    (machine.here.state_dir / "gateway").mkdir(parents=True)
    assert machine.fetch().replaces


def test_files_that_were_read_halfway_are_taken_for_no_backup(machine: Machine) -> None:
    for id in ("a", "b"):
        machine.repository.add(id)
    machine.repository.killed = "b"
    machine.fetch("a")
    with pytest.raises(KeyboardInterrupt):
        machine.fetch("b")
    machine.fetch("a")
    assert machine.repository.read_ones == ["a", "b", "a"]
    (found,) = (restore_folder(machine.here) / "files").glob("**/id")
    assert found.read_text() == "a"
    # One that was read completely is not read again.
    machine.fetch("a")
    assert len(machine.repository.read_ones) == 3


def test_copies_take_bounded_space() -> None:
    rows = [row(id=f"{number:012x}", name=str(number)) for number in range(4)]
    half = seats._BATCH_BYTES // 2
    sizes = {"0": Size(half, half), "1": Size(half, half), "2": Size(9 * half, 9 * half), "3": Size(0, 1)}
    found = seats.batches(rows, sizes, lambda id: str(int(id, 16)))
    assert [[found.name for found in batch] for batch in found] == [["0", "1"], ["2"], ["3"]]


class Docker:
    """Containers with their sizes, image tags, and what is done with them."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.tags: list[str] = []
        self.saved: list[list[str]] = []
        self.broken: dict[str, AtelierError] = {}
        self.room = 0

    def sizes(self, *_: str) -> dict[str, Size]:
        return {name: Size(own, own) for name, own in self.own.items()}

    def free_space(self) -> int:
        return self.room

    def execute(self, *_: object, **__: object) -> None:
        """A node's gateway, which does not answer."""
        raise AtelierError(Code.ENGINE_ERROR, as_message("There is none."))

    def written(self, name: str) -> int:
        return self.own[name]

    def containers(self, _: str) -> list[Container]:
        return [container(name=name, id=name) for name in self.own]

    def inspect(self, name: str) -> Container | None:
        return container("exited", name=name, id=name) if name in self.own else None

    def image(self, tag: str) -> Image | None:
        return Image("sha256:1", [tag], (), {})

    def images(self, _: str) -> list[Image]:
        return []

    def images_in_use(self, _: str) -> set[str]:
        return set()

    def image_tags(self, _: str) -> list[str]:
        return list(self.tags)

    def read(self, *_: object) -> None:
        """No file is there."""

    def commit(self, name: str, tag: str, _: object) -> None:
        self.tags.append(tag)

    def save(self, tags: list[str]) -> list[bytes]:
        self.saved.append(tags)
        return [b"archive"]

    def remove_image(self, tag: str, *, force: bool) -> None:
        """Nothing."""


class Stored:
    """A repository that takes streams."""

    def store_stream(self, name: str, pieces: list[bytes], tags: list[str]) -> str:
        return "5e7a"


@pytest.fixture
def docker() -> Docker:
    return Docker()


def save(folder: Path, store: WorkspaceStore, docker: Docker) -> create._Saved:
    saved = create._Saved()
    here = context(site(folder), store, docker)
    create._save_seats(here, Stored(), "5e7a5e7a", folder / "work", saved)  # type: ignore[arg-type]
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
    assert archive == Archive("5e7a", ["copy", "kept"])


# --- Several machines ------------------------------------------------------------------------------------------------

AWAY = AtelierError(Code.NODE_UNAVAILABLE, as_message("Docker on beta does not answer."), field="site.nodes")


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


def several(folder: Path) -> Site:
    return replace(site(folder), nodes=tuple(Node(name, f"unix:///{name}") for name in ("alpha", "beta")))


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
    here, saved = several(tmp_path), create._Saved()
    with open_store(tmp_path) as store:
        rows = seats_on(store, here, dockers)
        everywhere = replace(context(here, store, None), engines=dockers)  # type: ignore[arg-type]
        create._save_seats(everywhere, Stored(), "5e7a5e7a", tmp_path / "work", saved)  # type: ignore[arg-type]
        create._save_recordings(everywhere, Stored(), "5e7a5e7a", tmp_path, saved)  # type: ignore[arg-type]
    assert {archive.node: list(archive.tags) for archive in saved.archives} == {
        node: [saved.seats[made.id].image] for node, made in rows.items()
    }
    assert (saved.missing, saved.away) == ({}, {})
    assert saved.recordings == {}, "machines without a recorder have none"


@pytest.mark.parametrize("code", [Code.NODE_UNAVAILABLE, Code.ENGINE_ERROR, Code.DISK_FULL])
def test_a_machine_that_fails_keeps_no_other_from_being_saved(tmp_path: Path, dockers: Dockers, code: Code) -> None:
    here, saved = several(tmp_path), create._Saved()
    dockers.away, dockers.failure = {"beta"}, AtelierError(code, AWAY.sentence)
    with open_store(tmp_path) as store:
        rows = seats_on(store, here, dockers)
        everywhere = replace(context(here, store, None), engines=dockers)  # type: ignore[arg-type]
        create._save_seats(everywhere, Stored(), "5e7a5e7a", tmp_path / "work", saved)  # type: ignore[arg-type]
    assert saved.seats.keys() == {rows["controller"].id, rows["alpha"].id}
    assert (saved.missing, saved.away) == ({rows["beta"].id: AWAY.sentence}, {"beta": AWAY.sentence})


def test_workspaces_of_machines_that_the_inventory_lacks_are_missing(tmp_path: Path, dockers: Dockers) -> None:
    """As in a backup without the inventory: it must not take the place of complete ones."""
    saved = create._Saved()
    with open_store(tmp_path) as store:
        rows = seats_on(store, several(tmp_path), dockers)
        store.update(rows["beta"].id, status=Status.ERROR, error=Message("machine_removed", node="gamma"))
        alone = replace(context(site(tmp_path), store, None), engines=dockers)  # type: ignore[arg-type]
        create._save_seats(alone, Stored(), "5e7a5e7a", tmp_path / "work", saved)  # type: ignore[arg-type]
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
    assert not must_flatten(replace(base, labels=labels["controller"]))
    assert must_flatten(replace(base, labels=labels["alpha"]))


def test_images_are_loaded_where_their_workspaces_are_now() -> None:
    manifest = replace(MANIFEST_OF_NOTHING, images={"0123456789ab": "moved", "0123456789cd": "stays"})
    rows = [row(id="0123456789ab", node="alpha"), row(id="0123456789cd", node="beta")]
    assert restore._nodes_of(Archive("5e7a", ["moved"], "beta"), manifest, rows) == {"alpha", "beta"}
    assert restore._nodes_of(Archive("5e7b", ["stays"], "beta"), manifest, rows) == {"beta"}


def test_a_machine_of_a_workspace_that_was_never_saved_must_be_there_too(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        one, other = store.reserve([order("one"), order("other")])
        store.update(one.id, node="beta")
        store.update(other.id, node="gamma", status=Status.ERROR, error=Message("machine_removed", node="gamma"))
    copy = tmp_path / "registry.sqlite3"
    restore._check_machines(several(tmp_path), copy)
    with pytest.raises(AtelierError) as error:
        restore._check_machines(site(tmp_path), copy)
    refused(error, Code.VALIDATION_ERROR, "site.nodes")
    assert "beta" in error.value.message and "gamma" not in error.value.message


def test_machines_that_the_inventory_lacks_are_named(tmp_path: Path) -> None:
    of_beta = replace(MANIFEST_OF_NOTHING, archives=[Archive("5e7a", [], "beta")], recordings={"gamma": "5e7b"})
    with pytest.raises(AtelierError) as error:
        of_beta.check(several(tmp_path))
    refused(error, Code.VALIDATION_ERROR, "site.nodes")
    assert "gamma" in error.value.message and "beta" not in error.value.message
    replace(of_beta, recordings={}).check(several(tmp_path))


def test_the_manifest_of_an_older_backup_is_of_one_machine(tmp_path: Path) -> None:
    older = asdict(replace(MANIFEST_OF_NOTHING, format=1))
    del older["recordings"]
    older["archives"] = [{"snapshot": "5e7a", "tags": ["one"]}]
    (tmp_path / "manifest").write_text(json.dumps(older))
    found = read_manifest(tmp_path / "manifest")
    assert (found.archives, found.recordings) == ([Archive("5e7a", ["one"], "controller")], {})


@pytest.mark.parametrize("code", [Code.CONTAINER_CREATE_FAILED, Code.SERVICE_UNAVAILABLE, Code.DISK_FULL])
def test_a_workspace_that_cannot_be_created_is_marked_and_the_others_are_restored(
    machine: Machine, docker: Docker, monkeypatch: pytest.MonkeyPatch, code: Code
) -> None:
    with open_store(machine.here.state_dir) as store:
        good, broken, lost = store.reserve([order("good"), order("broken"), order("lost")])
        for row in (good, broken, lost):
            store.update(row.id, status=Status.RUNNING)
        work = restore_folder(machine.here) / "files" / str(machine.here.state_dir).lstrip("/") / WORK
        work.mkdir(parents=True)
        images = {row.id: f"test/snapshot:{row.id}-1-5e7a" for row in (good, broken)}
        replace(MANIFEST_OF_NOTHING, images=images, missing={lost.id: "It was full."}).write(work / MANIFEST)

        def make(_: object, row: Workspace, *__: object) -> None:
            if row.id == broken.id:
                raise AtelierError(code, as_message("It cannot be made."))

        monkeypatch.setattr(restore, "make_seat_again", make)
        quiet = SimpleNamespace(sync=lambda *_: None)
        here = context(machine.here, store, docker, gateway=quiet, aliases=quiet, ports=quiet)
        if code is not Code.CONTAINER_CREATE_FAILED:
            with pytest.raises(AtelierError) as error:
                restore.restore_seats(here, machine.source)
            assert error.value.code is code
            return
        outcome = restore.restore_seats(here, machine.source)
        assert (outcome.ids, outcome.workspaces, outcome.missing) == ([good.id], 3, ["broken", "lost"])
        assert store.get(id=good.id).status is Status.STOPPED
        for row, said in ((broken, "It cannot be made."), (lost, "It was full.")):
            found = store.get(id=row.id)
            assert found.status is Status.ERROR and said in str(found.error)


def test_how_the_last_one_ended_is_read_whatever_is_there(tmp_path: Path) -> None:
    assert last_backup(tmp_path) == LastBackup()
    (tmp_path / "backup").mkdir()
    for text in ("", "[]", '{"other": 1}'):
        (tmp_path / "backup" / "status.json").write_text(text)
        assert last_backup(tmp_path) == LastBackup()


BUSY = AtelierError(Code.WORKSPACE_BUSY, Message("held.backup"))


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


# --- Playbooks -------------------------------------------------------------------------------------------------------

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def tasks(name: str, **variables: object) -> dict[str, Any]:
    """The entries of a playbook or file of tasks by name, with those variables put in."""
    text = (PLAYBOOKS / name).read_text()
    for variable, value in variables.items():
        text = text.replace(f"{{{{ {variable} }}}}", str(value))
    loaded = yaml.safe_load(text)
    return {entry["name"]: entry for entry in [*loaded, *(task for play in loaded for task in play.get("tasks", ()))]}


def test_the_certificate_is_put_in_place_if_the_backup_has_one(tmp_path: Path) -> None:
    source, target = tmp_path / "gateway" / "tls.pem", tmp_path / "etc" / "tls" / "site.pem"
    found = tasks("restore.yml", atelier_state_dir=tmp_path, atelier_tls_certificate=target)
    order = found["Put the certificate in place"]["ansible.builtin.command"]
    assert (order["removes"], order["creates"]) == (str(source), str(target))  # skipped without or with it
    source.parent.mkdir()
    source.write_text("certificate")
    subprocess.run(order["argv"], check=True)
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("certificate", 0o600)


def test_only_a_restore_that_was_interrupted_needs_no_word_to_replace(machine: Machine) -> None:
    machine.repository.add("a")
    machine.fetch()
    place_backup(machine.here)
    with open_store(machine.here.state_dir) as store:
        store.reserve([order("one")])
    assert machine.fetch().replaces
    # A purge by hand ends that, and so does ./atelier up; the restore's own purge does not.
    folder, variable = restore_folder(machine.here), "platform_down_restore"
    remove = tasks("tasks/purge.yml", atelier_state_dir=machine.here.state_dir)[
        "Remove the files of an interrupted restore"
    ]
    assert remove["ansible.builtin.file"] == {"path": str(folder), "state": "absent"}
    assert remove["when"] == f"{variable} | bool"
    assert tasks("platform_down.yml")["Stop the platform"]["vars"][variable] is True
    assert tasks("restore.yml")["Remove the present installation"]["vars"][variable] is False
    forget = tasks("workshop.yml", atelier_state_dir=machine.here.state_dir)["Forget an interrupted restore"]
    for path in forget["loop"]:
        Path(path).unlink()
    with pytest.raises(AtelierError) as error:
        machine.fetch()
    refused(error, Code.VALIDATION_ERROR, "replace")


def test_snapshots_of_one_run_are_known_by_its_tag() -> None:
    assert run_of({"tags": ["atelier-state", "run-5e7a"]}) == "run-5e7a"
    assert run_of({"tags": None}) == run_of({}) == ""
