"""The database's file: opened in one process at a time, copied before it is migrated, with messages for its errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message

COPIES = "database-copies"
_MOST_COPIES = 5


@contextmanager
def opened_alone(folder: Path) -> Iterator[None]:
    """Locks the folder. SQLite raises "locked" for one of two processes that switch a new file to WAL concurrently."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which lets the lock go


def put_aside(path: Path, version: int) -> None:
    """Copies the database with that version to the folder of copies beside it, and keeps the newest five copies.
    Another connection may hold its write lock. Raises OSError and SQLite's errors."""
    folder = path.parent / COPIES
    folder.mkdir(mode=0o700, exist_ok=True)
    partial = folder / "unfinished"
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    # Use a separate connection: SQLite cannot copy one with an open write transaction.
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    partial.replace(folder / f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-schema-{version}.sqlite3")
    for old in sorted(folder.glob("*.sqlite3"))[:-_MOST_COPIES]:
        old.unlink()


def unusable(path: Path, error: Exception) -> AtelierError:
    return AtelierError(Code.REGISTRY_ERROR, Message("registry_unusable", path=path, why=error), field="site.state_dir")
