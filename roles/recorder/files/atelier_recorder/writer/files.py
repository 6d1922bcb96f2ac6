"""Files that are whole or not there, also when the recorder is killed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# Readers ignore names that begin with a dot; leftovers of a killed recorder are removed at the next start.
TEMPORARY = ".new-"


def replace(path: Path, data: bytes, *, durable: bool) -> None:
    """Puts the file there in one step. ``durable``: it also survives a power cut. Raises OSError."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
