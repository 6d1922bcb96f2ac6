"""Opens the database's file in one process at a time, with messages for its errors."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message


@contextmanager
def opened_alone(folder: Path) -> Iterator[None]:
    """Holds the folder. Of two processes that make WAL of a new file at once, SQLite tells one that it is locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which lets the lock go


def unusable(path: Path, error: Exception) -> AtelierError:
    return AtelierError(Code.REGISTRY_ERROR, Message("registry_unusable", path=path, why=error), field="site.state_dir")
