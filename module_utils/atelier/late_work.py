"""Work that came after its archive: what a seat holds that would be lost with it, though it was collected.

A seat that runs is asked by its own find(1), for what changed since: the kernel's time of change can't be set back, so
also what was unpacked or moved with an older date is found. One that has not run since has nothing new. Any other is
compared with its archive, file by file.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from .archive_manifest import Entry
from .archives import open_archive
from .docker_answers import ExportReader
from .engine import Container
from .errors import AtelierError, Code
from .model import Workspace
from .platform import Platform

_WORKSPACE = "/workspace"
_SECONDS = 60
# find(1) and timeout(1) run as the seat's user, who may stop them: the engine waits for so much longer only.
_SLACK = 10
# One short line for each folder that changed.
_MOST_OUTPUT = 8 * 1024**2
# What editors, git and running programs write without anybody's working. Below /workspace, as find's -path has it.
_OF_THEIR_OWN = (
    "*/.git/index",
    "*/.git/*.lock",
    "*/.git/FETCH_HEAD",
    "*/.git/gc.log",
    "*/node_modules/.cache/*",
    "*/node_modules/.vite/*",
    "*/__pycache__/*",
)
_IGNORED = re.compile("|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in _OF_THEIR_OWN), re.DOTALL)


def late_work(platform: Platform, workspace: Workspace, folder: Path, entry: Entry) -> str | None:
    """Why a seat can't be said to be collected, though its archive is sound; None when it can. Never raises: a seat
    that can't be looked at may hold anything."""
    try:
        path = _newer(platform, workspace, folder, entry)
    except AtelierError as error:
        return f"can't be compared with its archive: {error.message}"
    return None if path is None else f"has work that is newer than its archive of {entry.collected_at}: {path!r}"


def _newer(platform: Platform, workspace: Workspace, folder: Path, entry: Entry) -> str | None:
    """The path of something in the seat that is newer than its archive."""
    container = platform.engine.inspect(platform.site.container_name(workspace.id))
    if container is None or entry.file is None or entry.collected_at is None:
        return None
    if container.status == "running":
        code, output = _asked(platform, container, entry.collected_at)
        path, moved = told(output) if code == 0 else (None, True)
        if path is not None or not moved:
            return path
    elif has_rested(container, entry.collected_at):
        return None
    # It has no find, it does not answer, a folder was moved, or it ran in between: what both hold is compared.
    with open_archive(folder / entry.file) as archive, closing(platform.engine.stream(container.id, _WORKSPACE)) as now:
        return difference(archive, ExportReader(now))


def _asked(platform: Platform, container: Container, since: str) -> tuple[int, str]:
    try:
        return platform.engine.execute(container.id, search(since), seconds=_SECONDS + _SLACK, limit=_MOST_OUTPUT)
    except AtelierError as error:
        if error.code is not Code.ENGINE_ERROR:
            raise
        return 1, error.message


def search(since: str) -> list[str]:
    """The command that tells what changed below /workspace since then; ``told`` reads it. By its own path, and ended
    when it takes too long.

    A folder changes with each file that comes or goes in it, so that says nothing. One whose own time of change is
    newer than the last of those may have been moved here, with files that look as old as they are.
    """
    ignored = [word for pattern in _OF_THEIR_OWN for word in ("!", "-path", pattern)]
    return [
        *("/usr/bin/timeout", str(_SECONDS), "/usr/bin/find", _WORKSPACE, "-newerct", since),
        *("(", "!", "-type", "d", *ignored, "-printf", "file %P\\n", "-quit"),
        *("-o", "-type", "d", "!", "-newermt", since, *ignored, "-printf", "folder\\n", ")"),
    ]


def told(output: str) -> tuple[str | None, bool]:
    """The path of a file that changed, and whether a folder may have been moved."""
    before, found, path = f"\n{output}".partition("\nfile ")
    return (path.rstrip("\n") if found else None), "folder" in before


def has_rested(container: Container, since: str) -> bool:
    """Whether a container that does not run has not run since then."""
    ended = moment_of(container.finished_at)
    return container.status in ("exited", "created") and ended is not None and ended <= datetime.fromisoformat(since)


def moment_of(written: str) -> datetime | None:
    """Docker's time, cut to microseconds; None for what is none."""
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return None


def difference(archive: IO[bytes], seat: io.RawIOBase | IO[bytes]) -> str | None:
    """The path of the first entry of the second tar archive that the first has not, or has otherwise. What is in the
    first only is not lost. Raises ARCHIVE_FAILED when one of them can't be read."""
    try:
        known = dict(_contents(archive))
        return next((path for path, content in _contents(seat) if known.get(path) != content), None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise AtelierError(
            Code.ARCHIVE_FAILED, f"One of them can't be read: {error}.", remedy="Collect it again."
        ) from error


def is_of_its_own(path: str) -> bool:
    """Whether nobody's work is at that path below /workspace."""
    return _IGNORED.fullmatch(f"{_WORKSPACE}/{path}") is not None


def _contents(stream: Any) -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    """Of each entry but folders: its path below /workspace, its kind, where it leads, and its content's digest."""
    with tarfile.open(fileobj=stream, mode="r|") as entries:
        for entry in entries:
            path = entry.name.removeprefix("workspace/")
            if entry.isdir() or is_of_its_own(path):
                continue
            file = entries.extractfile(entry) if entry.isfile() else None
            digest = hashlib.file_digest(file, "sha256").hexdigest() if file else ""  # type: ignore[arg-type]
            yield path, (entry.type, entry.linkname, digest)
