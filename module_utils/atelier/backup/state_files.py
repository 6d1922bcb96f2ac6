"""The state folder in a backup: all files as they are, and what changes while it is read as copies of one moment.

A SQLite database is copied by SQLite's backup API. Of a git repository the references are copied before the objects are
read: then every object that a reference needs is there, whatever is pushed meanwhile.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from .manifest import Manifest

REGISTRY = "registry.sqlite3"
# A file of another name may be a participant's, whatever it begins with: it is saved as it is.
_DATABASE_NAMES = (REGISTRY, "git.sqlite3", "forgejo.db")
# The folder of the copies in the state folder, and what else is in it. It is removed by a purge.
FOLDER = "backup"
WORK, CACHE, STATUS = f"{FOLDER}/work", f"{FOLDER}/cache", f"{FOLDER}/status.json"
# Exists from the moment when a restore put its files in place until its workspaces are there.
RESTORING = f"{FOLDER}/restoring"
MANIFEST = "manifest.json"
_DATABASES, _REFERENCES, _SEATS = "databases", "references", "seats"
# Files that describe this machine only, or are made from other files.
_NOT_SAVED = ("locks", "platform.json", "build", "image-registry", "registry-garbage", "snapshots", "kept.json")
_SIDE_FILES = ("-wal", "-shm", "-journal")
_SQLITE = b"SQLite format 3\0"
# Loose references before packed ones: git packs one before it removes the loose one.
_REFERENCE_FILES = ("HEAD", "refs", "packed-refs")


def excluded(state_dir: Path, databases: Sequence[str]) -> list[str]:
    """The paths in the state folder that restic excludes."""
    copied = (f"{path}{side}" for path in databases for side in ("", *_SIDE_FILES))
    paths = [*_NOT_SAVED, CACHE, STATUS, RESTORING, *copied]
    return [*(str(state_dir / path) for path in paths), f"{state_dir}/**/*.sock"]


def stage_copies(state_dir: Path, work: Path) -> tuple[list[str], list[str]]:
    """Copies the databases and the repositories' references; returns the paths of both in the state folder."""
    databases, repositories = [], []
    for folder, names, files in os.walk(state_dir):
        here = Path(folder)
        if here == state_dir:
            names[:] = [name for name in names if name not in (*_NOT_SAVED, FOLDER)]
        if {"objects", "refs"} <= set(names) and "HEAD" in files:
            repositories.append(str(here.relative_to(state_dir)))
            names.clear()
            continue
        databases += [str((here / name).relative_to(state_dir)) for name in files if _is_database(here / name)]
    # The platform's own database last: what its rows need is there by then.
    databases.sort(key=lambda path: (path == REGISTRY, path))
    repositories = [path for path in repositories if _copy_references(state_dir / path, work / _REFERENCES / path)]
    for path in databases:
        target = work / _DATABASES / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_database(state_dir / path, target)
    return databases, repositories


def registry_copy(work: Path) -> Path:
    return work / _DATABASES / REGISTRY


def seat_folder(work: Path, workspace_id: str) -> Path:
    """The folder of a seat's files that no image contains."""
    return work / _SEATS / workspace_id


def place_state(saved: Path, manifest: Manifest, state_dir: Path) -> None:
    """Puts a backup's files into the state folder, except the platform's own database. Can be repeated."""
    work = saved / WORK
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in sorted(saved.iterdir()):
        if entry.name != FOLDER:
            _copy(entry, state_dir / entry.name)
    for path in manifest.databases:
        if path != REGISTRY:
            _replace_database(work / _DATABASES / path, state_dir / path)
    for path in manifest.repositories:
        _place_references(work / _REFERENCES / path, state_dir / path)


def place_registry(saved: Path, state_dir: Path) -> None:
    """Replaces the platform's database by the backup's. Nobody may have it open."""
    _replace_database(saved / WORK / _DATABASES / REGISTRY, state_dir / REGISTRY)


def _copy(source: Path, target: Path) -> None:
    # Owners, modes and times stay; nothing in Python does so. A folder is merged into one that is there.
    subprocess.run(["cp", "--archive", "--reflink=auto", "--no-target-directory", str(source), str(target)], check=True)


def _replace_database(copy: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for side in _SIDE_FILES:
        target.with_name(target.name + side).unlink(missing_ok=True)
    fresh = target.with_name(f".{target.name}.restored")
    _copy(copy, fresh)
    fresh.replace(target)


def _is_database(file: Path) -> bool:
    with suppress(OSError):
        if file.name in _DATABASE_NAMES and file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                return opened.read(len(_SQLITE)) == _SQLITE
    return False


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, timeout=30)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
    shutil.copystat(source, target)
    found = source.stat()
    os.chown(target, found.st_uid, found.st_gid)


def _copy_references(repository: Path, target: Path) -> bool:
    """Returns False for a repository that is gone."""
    target.mkdir(parents=True)
    for name in _REFERENCE_FILES:
        if (repository / name).exists():
            # Without owners, which the API may not give: they are the repository's.
            words = ["cp", "--recursive", "--no-dereference", str(repository / name), str(target)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
            # One that was removed meanwhile is packed, or gone.
            failed = [line for line in done.stderr.splitlines() if "No such file or directory" not in line]
            if failed:
                full = "No space left" in failed[0]
                raise OSError(errno.ENOSPC if full else errno.EIO, failed[0])
            if not repository.exists():
                return False
    return True


def _place_references(copy: Path, repository: Path) -> None:
    if not repository.is_dir():  # it was deleted during the backup, after its references were copied
        return
    for name in _REFERENCE_FILES:
        present = repository / name
        shutil.rmtree(present) if present.is_dir() else present.unlink(missing_ok=True)
    for entry in copy.iterdir():
        _copy(entry, repository / entry.name)
    subprocess.run(["chown", "--recursive", f"--reference={repository}", str(repository)], check=True)
