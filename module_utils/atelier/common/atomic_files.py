"""Atomic file writes that survive power failures."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import AtelierError, Code
from .messages import Message


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Replaces the file in one step; after the call it survives a power cut. The folder must exist."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def usable(file: Path, code: Code) -> Iterator[None]:
    """Raises the code for a file (or a folder) of the state folder that the block cannot read, understand or write."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = Message("file_unusable", file=file, why=getattr(error, "strerror", None) or error)
        raise AtelierError(code, why, field="site.state_dir") from error


def no_space(error: OSError) -> AtelierError | None:
    """DISK_FULL for an error that a full disk or a used-up quota caused; None for any other."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    full = Message("disk_full")
    if isinstance(error.filename, str):
        full = Message("disk_full_at", folder=Path(error.filename).parent)
    return AtelierError(Code.DISK_FULL, full, field="site.state_dir")
