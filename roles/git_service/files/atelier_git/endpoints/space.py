"""Refuses pushes before the disk is full, so that the repositories can still be read and cleaned up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from starlette.exceptions import HTTPException

FULL = "The git server's disk is full. Nothing was taken; what was pushed before is safe. Tell whoever runs it."
_RESERVE = 512 * 1024**2
_RESERVED_PART = 20  # of a small disk
# Enough for SQLite to open its database and for git to move a branch.
_BALLAST = 4 * 1024**2


def check_room(folder: Path) -> None:
    """Raises HTTPException 507 when too little is left for a push."""
    disk = os.statvfs(folder)
    free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free < min(_RESERVE, whole // _RESERVED_PART):
        raise HTTPException(507, FULL)


def drop_ballast(folder: Path) -> None:
    """Makes room for a start on a full disk."""
    (folder / "ballast").unlink(missing_ok=True)


def take_ballast(folder: Path) -> None:
    """Keeps room for the next start, if there is any."""
    path = folder / "ballast"
    try:
        with path.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, _BALLAST)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
