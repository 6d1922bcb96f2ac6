"""Leftovers of crashes, broken pushes and full disks in the embedded git service are removed; users' data stays."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from atelier_git.endpoints.api import Service, note_again, note_push
from atelier_git.endpoints.app import create_app
from atelier_git.repositories import cleanup, git
from atelier_git.store import Store
from git_app import APP, REPOSITORIES, Server, refused


def test_what_a_crash_left_goes_at_the_next_start(app: Server) -> None:
    orphan = app.settings.repositories / "0123.git"
    orphan.mkdir()
    create_app(app.settings)
    assert not orphan.exists()
    assert len(list(app.settings.repositories.iterdir())) == 1
    assert app("GET", APP).status_code == 200


def test_a_repository_that_can_not_be_made_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: Any) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "insert", full)
        refused(server("POST", REPOSITORIES, {"name": "app"}), 507, "The git server's disk is full.")
    assert list(server.settings.repositories.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(_failing_git(server.settings.data_dir)))
        refused(server("POST", REPOSITORIES, {"name": "app"}), 507, "The git server's disk is full.")
    assert list(server.settings.repositories.iterdir()) == []
    assert server("POST", REPOSITORIES, {"name": "app"}).status_code == 201


def _failing_git(folder: Path) -> Path:
    """A git that makes half of a repository."""
    program = folder / "bin" / "git"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done; /bin/mkdir "$last"\necho No space left >&2; exit 1\n')
    program.chmod(0o755)
    return program.parent


def test_what_broken_pushes_left_goes_at_the_next_start(app: Server) -> None:
    (folder,) = app.settings.repositories.iterdir()
    left = [
        "objects/tmp_objdir-incoming-abc/pack/tmp_pack_x",
        "objects/pack/tmp_pack_y",
        "objects/12/tmp_obj_z",
        "refs/heads/clone/a.lock",
        "HEAD.lock",
        "packed-refs.lock",
        "gc.pid",
        "objects/maintenance.lock",
    ]
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "objects/pack/pack-1.keep").write_text("receive-pack 7 on here\n")
    (folder / "objects/pack/pack-2.keep").write_text("somebody's own reason\n")
    (app.settings.incoming / "half").touch()
    create_app(app.settings)
    assert [name for name in left if (folder / name).exists()] == []
    assert not (folder / "objects/tmp_objdir-incoming-abc").exists()
    assert [path.name for path in (folder / "objects/pack").iterdir()] == ["pack-2.keep"]
    assert list(app.settings.incoming.iterdir()) == []


def test_after_a_push_gits_own_tidying_is_left_alone(app: Server) -> None:
    (folder,) = app.settings.repositories.iterdir()
    for name in ("packed-refs.lock", "gc.pid", "objects/pack/tmp_pack_y"):
        (folder / name).touch()
    (folder / "objects/tmp_objdir-incoming-abc").mkdir()
    cleanup.remove_after_a_push(folder)
    assert not (folder / "objects/tmp_objdir-incoming-abc").exists()
    assert (folder / "packed-refs.lock").exists() and (folder / "objects/pack/tmp_pack_y").exists()
    (folder / "gc.pid").unlink()
    cleanup.remove_after_a_push(folder)
    assert not (folder / "packed-refs.lock").exists()


def test_an_empty_repository_whose_files_were_lost_is_made_again(app: Server) -> None:
    (folder,) = app.settings.repositories.iterdir()
    (folder / "HEAD").write_bytes(b"")
    (folder / "config").unlink()
    create_app(app.settings)
    assert app("GET", f"{APP}/branches").json() == []
    shutil.rmtree(folder)
    refused(app("GET", f"{APP}/branches"), 500, "git can't work with this repository")
    create_app(app.settings)
    assert app("GET", f"{APP}/branches").json() == []


@pytest.mark.parametrize("objects", ["pack/pack-1.pack", "4b/825dc642cb6eb9a060e54bf8d69288fbee4904"])
def test_a_damaged_repository_with_somebodys_work_is_not_made_again(app: Server, objects: str) -> None:
    """Its first push may be there and not noted yet; git keeps a small one as single objects."""
    (folder,) = app.settings.repositories.iterdir()
    work = folder / "objects" / objects
    work.parent.mkdir(exist_ok=True)
    work.write_bytes(b"work")
    (folder / "HEAD").write_bytes(b"")
    create_app(app.settings)
    assert work.read_bytes() == b"work"


def test_what_is_left_goes_when_nobody_pushes(tmp_path: Path) -> None:
    pushes, half = cleanup.Pushes(), tmp_path / "objects/tmp_objdir-incoming-a"
    half.mkdir(parents=True)

    async def run() -> list[bool]:
        seen = []
        async with pushes.on(tmp_path):
            async with pushes.on(tmp_path):
                pushes.broke(tmp_path)
            seen.append(half.exists())
        seen.append(half.exists())
        return seen

    assert asyncio.run(run()) == [True, False]
    assert vars(pushes) == {name: type(value)() for name, value in vars(pushes).items()}


def test_a_push_that_could_not_be_written_down_is_written_later(app: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full at that moment: its database goes on when there is space, and loses no push."""
    (folder,) = app.settings.repositories.iterdir()
    service = Service(app.settings, Store(app.settings.database))
    row = service.store.repository("developer", "app")
    assert row is not None and row["empty"]
    tree = run(folder, "mktree")
    run(folder, "update-ref", "refs/heads/main", run(folder, "commit-tree", tree, "-m", "x"))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "run", lambda *given: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
        note_push(service, row)
        assert service.unnoted == {row["id"]}
    note_again(service)
    assert not service.unnoted
    assert not app("GET", APP).json()["empty"]
    service.store.close()


def test_a_transaction_that_ends_on_a_full_disk_is_over(tmp_path: Path) -> None:
    """Also its COMMIT may fail; the next one must begin."""
    store = Store(tmp_path / "db")
    (pages,) = store.one("PRAGMA page_count") or (0,)
    store.run(f"PRAGMA max_page_count = {pages}")
    values = {"lower_name": "a", "email": "x" * 100_000, "password_hash": "", "is_admin": 0, "restricted": 0}
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"), store.change():
            store.insert("users", {**values, "name": "a", "created_at": ""})
    store.run("PRAGMA max_page_count = 100000")
    with store.change():
        store.insert("users", {**values, "name": "a", "created_at": ""})
    store.close()


def run(folder: Path, *words: str, text: str = "") -> str:
    named = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "--git-dir", str(folder), *words]
    done = subprocess.run(command, env=git.environment(**named), input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode().strip()
