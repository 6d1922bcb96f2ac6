"""Restores: copies of changing files, the checks of a backup, the restored database, the playbook."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from atelier.backup import restore
from atelier.backup.manifest import FORMAT, Manifest, SavedImages, read_manifest
from atelier.backup.restic import Source
from atelier.backup.restore import _check_database, _holds, fetch_backup, place_backup, restore_folder
from atelier.backup.state_files import (
    MANIFEST,
    WORK,
    excluded,
    place_state,
    registry_copy,
    stage_copies,
)
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message, as_message
from atelier.common.models import Site, Status, Workspace
from atelier.database.job_store import Jobs, JobState
from atelier.database.lasting_errors import is_removed
from atelier.host.installation import newer_version, of_checkout
from atelier.workspaces.lost_machine import unfinished
from backup_parts import Docker, several
from support import context, open_store, order, refused, row, site

from api.runner.operations import RELEASE

MANIFEST_OF_NOTHING = Manifest("2027-03-01T12:00:00.000Z", "test", "test", [], {}, {}, [], [])


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
            assert Jobs(store).find(job.id).state is JobState.CANCELED
            assert (store.get(id=made.id).status, store.get(id=ready.id).status) == (Status.ERROR, Status.RUNNING)
            store.delete(made.id)


def test_a_seat_whose_release_was_under_way_is_nobody_s_in_a_restored_database(tmp_path: Path) -> None:
    """Its claim has ended already, and it may have its former participant's files."""
    here = site(tmp_path / "new")
    saved = restore_folder(here) / "files" / str(here.state_dir).lstrip("/")
    work = saved / WORK
    work.mkdir(parents=True)
    with open_store(tmp_path / "old") as store:
        left, gone = store.reserve([order("left"), order("gone")])
        store.update(left.id, status=Status.RUNNING)
        for row in (left, gone):
            Jobs(store).create(RELEASE, [row.id], {}, "operator")
        store.delete(gone.id)
    databases, _ = stage_copies(tmp_path / "old", work)
    replace(MANIFEST_OF_NOTHING, databases=databases).write(work / MANIFEST)
    place_backup(here)
    with open_store(here.state_dir) as store:
        assert [row.unreleased is not None for row in store.all()] == [True]


def test_a_backup_of_a_newer_atelier_is_refused(tmp_path: Path) -> None:
    file = tmp_path / MANIFEST
    with_archive = replace(MANIFEST_OF_NOTHING, archives=[SavedImages("5e7a", ["x"])], images={"0" * 12: "x"})
    with_archive.write(file)
    assert read_manifest(file) == with_archive
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": FORMAT + 1, "more": 1}))
    with pytest.raises(AtelierError) as error:
        read_manifest(file)
    refused(error, Code.VALIDATION_ERROR, "snapshot")
    with open_store(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        _check_database(site(tmp_path), tmp_path / "registry.sqlite3")
        db.execute("PRAGMA user_version = 1000")
    with pytest.raises(AtelierError) as error:
        _check_database(site(tmp_path), tmp_path / "registry.sqlite3")
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
    assert _check_database(here, file) == 1
    for column, value, field in (
        ("address", "10.77.0.1", "atelier_network_open_subnet"),
        ("proxy_mode", "logging", "atelier_enable_proxy"),
    ):
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"UPDATE workspaces SET {column} = ? WHERE id = ?", (value, made.id))  # noqa: S608
            db.commit()
        with pytest.raises(AtelierError) as error:
            _check_database(here, file)
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

    def fetch(self, snapshot: str | None = None, *, replace: bool = False) -> dict[str, Any]:
        return fetch_backup(self.here, self.source, snapshot, lambda *_: None, newer_version, replace=replace)


@pytest.fixture
def machine(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Machine:
    here = site(tmp_path / "state")
    repository = Repository(here, tmp_path / "snapshots")
    monkeypatch.setattr(restore, "Restic", repository)
    return Machine(here, source, repository)


def test_a_restore_is_refused_while_what_it_replaces_is_saved(machine: Machine) -> None:
    """The running backup could forget the one that is being restored."""
    machine.repository.add("a")
    with open_store(machine.here.state_dir):
        pass
    with Locks(machine.here.state_dir).backup(), pytest.raises(AtelierError) as error:
        machine.fetch(replace=True)
    assert error.value.code is Code.WORKSPACE_BUSY
    assert not restore_folder(machine.here).exists()
    assert machine.fetch(replace=True)["snapshot"] == "a"


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_removed(machine: Machine) -> None:
    state = machine.repository.add("a")
    assert machine.fetch() == {
        "snapshot": "a",
        "taken_at": MANIFEST_OF_NOTHING.taken_at,
        "workspaces": 0,
        "replaces": False,
    }
    noted = asdict(of_checkout()) | {"version": "0.100.0", "only newer ones know": 1}
    state = machine.repository.add("b")
    (state / "installed.json").write_text(json.dumps(noted))
    with pytest.raises(AtelierError) as error:
        machine.fetch()
    assert "0.100.0" in refused(error, Code.VALIDATION_ERROR, "snapshot")


def test_a_damaged_database_is_replaced_only_if_that_is_wanted(machine: Machine) -> None:
    machine.repository.add("a")
    machine.here.state_dir.mkdir()
    assert not machine.fetch()["replaces"]
    (machine.here.state_dir / "registry.sqlite3").write_bytes(b"damaged" * 1000)
    with pytest.raises(AtelierError) as error:
        machine.fetch()
    refused(error, Code.VALIDATION_ERROR, "replace")
    assert machine.fetch(replace=True)["replaces"]


def test_what_is_left_of_an_installation_without_its_database_is_removed_first(machine: Machine) -> None:
    machine.repository.add("a")
    (machine.here.state_dir / "gateway").mkdir(parents=True)
    assert machine.fetch()["replaces"]


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


def test_images_are_loaded_where_their_workspaces_are_now() -> None:
    manifest = replace(MANIFEST_OF_NOTHING, images={"0123456789ab": "moved", "0123456789cd": "stays"})
    rows = [row(id="0123456789ab", node="alpha"), row(id="0123456789cd", node="beta")]
    assert restore._nodes_of(SavedImages("5e7a", ["moved"], "beta"), manifest, rows) == {"alpha", "beta"}
    assert restore._nodes_of(SavedImages("5e7b", ["stays"], "beta"), manifest, rows) == {"beta"}


def test_a_machine_of_a_workspace_that_was_never_saved_must_be_there_too(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        one, other = store.reserve([order("one"), order("other")])
        store.update(one.id, node="beta")
        store.update(other.id, node="gamma", status=Status.ERROR, error=Message("machine_removed", node="gamma"))
    copy = tmp_path / "registry.sqlite3"
    restore._check_database(several(tmp_path), copy)
    with pytest.raises(AtelierError) as error:
        restore._check_database(site(tmp_path), copy)
    refused(error, Code.VALIDATION_ERROR, "site.nodes")
    assert "beta" in error.value.message and "gamma" not in error.value.message


def test_machines_that_the_inventory_lacks_are_named(tmp_path: Path) -> None:
    of_beta = replace(MANIFEST_OF_NOTHING, archives=[SavedImages("5e7a", [], "beta")], recordings={"gamma": "5e7b"})
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
    assert (found.archives, found.recordings) == ([SavedImages("5e7a", ["one"], "controller")], {})


@pytest.mark.parametrize("code", [Code.CONTAINER_CREATE_FAILED, Code.SERVICE_UNAVAILABLE, Code.DISK_FULL])
def test_a_workspace_that_cannot_be_created_is_marked_and_the_others_are_restored(
    machine: Machine, docker: Docker, monkeypatch: pytest.MonkeyPatch, code: Code
) -> None:
    with open_store(machine.here.state_dir) as store:
        good, broken, lost = store.reserve([order("good"), order("broken"), order("lost")])
        for row in (good, broken, lost):
            store.update(row.id, status=Status.RUNNING)
        begun = "INSERT INTO begun_elsewhere (workspace_id, lost, origin) VALUES (?, 'alpha', 'base')"
        store.write(begun, good.id)
        work = restore_folder(machine.here) / "files" / str(machine.here.state_dir).lstrip("/") / WORK
        work.mkdir(parents=True)
        images = {row.id: f"test/snapshot:{row.id}-1-5e7a" for row in (good, broken)}
        replace(MANIFEST_OF_NOTHING, images=images, missing={lost.id: "It was full."}).write(work / MANIFEST)

        def make(_: object, row: Workspace, *__: object) -> None:
            if row.id == broken.id:
                raise AtelierError(code, as_message("It cannot be made."))

        monkeypatch.setattr(restore, "make_seat_again", make)
        here = context(machine.here, store, docker)
        if code is not Code.CONTAINER_CREATE_FAILED:
            with pytest.raises(AtelierError) as error:
                restore.restore_seats(here, machine.source)
            assert error.value.code is code
            return
        outcome = restore.restore_seats(here, machine.source)
        assert (outcome["ids"], outcome["workspaces"], outcome["missing"]) == ([good.id], 3, ["broken", "lost"])
        assert store.get(id=good.id).status is Status.STOPPED
        assert unfinished(store) == {}, "its files are the backup's, and not to be replaced by its branch's"
        for row, said in ((broken, "It cannot be made."), (lost, "It was full.")):
            found = store.get(id=row.id)
            assert found.status is Status.ERROR and said in str(found.error)


def test_workspaces_of_a_removed_machine_that_joined_again_are_restored(
    machine: Machine, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "make_seat_again", lambda *_: None)
    with open_store(machine.here.state_dir) as store:
        rows = store.reserve([order("back"), order("unsaved"), order("away")])
        back, _, away = rows
        store.update(away.id, node="alpha")
        for row in rows:
            store.update(row.id, status=Status.ERROR, error=Message("machine_removed", node=row.node))
        work = restore_folder(machine.here) / "files" / str(machine.here.state_dir).lstrip("/") / WORK
        work.mkdir(parents=True)
        images = {row.id: f"test/snapshot:{row.id}-1-5e7a" for row in (back, away)}
        replace(MANIFEST_OF_NOTHING, images=images).write(work / MANIFEST)
        outcome = restore.restore_seats(context(machine.here, store, docker), machine.source)
        assert outcome["missing"] == ["unsaved", "away"]
        assert [is_removed(row) for row in store.all()] == [False, True, True]


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
    assert machine.fetch()["replaces"]
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
