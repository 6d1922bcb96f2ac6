"""Detects changes made in a workspace after its archive was taken.

A seat that has not run since has nothing new. A running seat is first searched with its own find(1) for later changes:
the kernel's change time cannot be set back, so unpacked or moved files with an older date are found, too. If that is
not conclusive, or the seat is paused for its removal, all files are compared with the archive.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from ..common.errors import AtelierError, Code, faults_of
from ..common.messages import Message
from ..common.models import Workspace
from ..common.plain_text import first_of
from ..containers.container import container_of
from ..containers.context import Context, NodeContext
from ..database.workspace_store import now
from ..engine.models import Container
from ..engine.parsing import ExportReader
from .archives import open_archive
from .manifest import Entry
from .tar_stream import within

_WORKSPACE = "/workspace"
_SECONDS = 60
# find(1) and timeout(1) run as the seat's user, who may stop them, so the engine has a timeout, too.
_SLACK = 10
_FINGERPRINT = 16
_FREE = bytes(_FINGERPRINT)
# Files that editors, git and programs write without a user's work. Below /workspace, as patterns for find -path.
_IGNORED_PATHS = (
    *("*/.git/index", "*/.git/*.lock", "*/.git/FETCH_HEAD", "*/.git/gc.log"),
    *("*/node_modules/.cache/*", "*/node_modules/.vite/*", "*/__pycache__/*"),
)
# A seat's paths may have 4096 bytes.
_SHOWN_PATH = 200


def late_work(context: Context, workspace: Workspace, folder: Path, entry: Entry) -> str | None:
    """Why a seat has newer work than its sound archive; None if it has none. Never raises: a seat that cannot be
    checked may contain anything."""
    try:
        with faults_of(workspace.name):
            path = _newer(context.left_of(workspace), workspace, folder, entry)
    except AtelierError as error:
        return Message("fault.not_comparable", why=error.message)
    if path is None:
        return None
    return Message("fault.newer_work", when=entry.collected_at, path=first_of(path, _SHOWN_PATH))


def _newer(context: NodeContext, workspace: Workspace, folder: Path, entry: Entry) -> str | None:
    """The path of a file in the seat that is newer than its archive."""
    container = container_of(context, workspace)
    if container is None or entry.file is None or entry.collected_at is None:
        return None
    rest = rest_of(container)
    if rest is not None and (container.id, rest) == (entry.container, entry.rested):
        return None
    # A clock that went back makes new files look old.
    clock_is_right = now() >= entry.collected_at
    if container.status == "running" and clock_is_right and _finds_nothing(context, container, entry.collected_at):
        return None
    # Compare the contents: find reported something, which may only be dated in the future, or does not answer; a folder
    # was moved, the seat ran in between, or it is paused and cannot run find.
    limits = context.site.archive
    with (
        open_archive(folder / entry.file) as archive,
        closing(context.engine.stream(container.id, _WORKSPACE, limits.seconds)) as chunks,
    ):
        return diff_archives(archive, ExportReader(within(chunks, limits, workspace.name)), entry.entries)


def _finds_nothing(context: NodeContext, container: Container, since: str) -> bool:
    try:
        answer = context.engine.execute(container.id, find_command(since), seconds=_SECONDS + _SLACK)
    except AtelierError as error:
        if error.code is not Code.ENGINE_ERROR:
            raise
        return False
    return answer == (0, "")


def find_command(since: str) -> list[str]:
    """The command that prints the first change below /workspace since then. It uses absolute paths and a time limit.

    A folder changes with each file that comes or goes in it, so that says nothing. One whose own time of change is
    newer than the last of those may have been moved here, with files that look as old as they are.
    """
    ignored = [word for pattern in _IGNORED_PATHS for word in ("!", "-path", pattern)]
    return [
        *("/usr/bin/timeout", str(_SECONDS), "/usr/bin/find", _WORKSPACE, "-newerct", since),
        *("(", "!", "-type", "d", "-o", "!", "-newermt", since, ")", *ignored, "-print", "-quit"),
    ]


def rest_of(container: Container) -> str | None:
    """Docker's timestamp of a stopped container's exit, which differs after each run; None for one that runs or may be
    restarted."""
    return container.finished_at if container.status in ("exited", "created") and container.finished_at else None


def diff_archives(archive: IO[bytes], seat: io.RawIOBase | IO[bytes], most: int) -> str | None:
    """The path of the first entry of ``seat`` that is missing or different in ``archive``, a tar archive of at most
    ``most`` entries. Entries only in ``archive`` are ignored. Raises ARCHIVE_FAILED if one is unreadable."""
    try:
        known = _Fingerprints(most)
        # Without a secret key a seat could choose files whose fingerprints all get the same place in the table.
        key = secrets.token_bytes()
        for _, fingerprint in _contents(archive, key):
            known.add(fingerprint)
        return next((path for path, fingerprint in _contents(seat, key) if fingerprint not in known), None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise AtelierError(Code.ARCHIVE_FAILED, Message("not_compared", why=error)) from error


def is_ignored_path(path: str) -> bool:
    """Whether the path below /workspace is written by programs automatically and holds no work."""
    return any(_fits(f"{_WORKSPACE}/{path}", pattern) for pattern in _IGNORED_PATHS)


def _fits(path: str, pattern: str) -> bool:
    """Whether find's ``-path`` takes the path. Not by fnmatch: for a seat with a million long paths its regular
    expressions take minutes, this takes seconds."""
    first, *middle, last = pattern.split("*")
    if not (path.startswith(first) and path.endswith(last)):
        return False
    place, end = len(first), len(path) - len(last)
    for part in middle:
        found = path.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return place <= end


class _Fingerprints:
    """A set of 16-byte digests in one table: a million takes 32 MiB, a fifth of a Python set."""

    def __init__(self, most: int) -> None:
        self._slots = 2 * most + 1
        self._table = bytearray(self._slots * _FINGERPRINT)

    def add(self, fingerprint: bytes) -> None:
        place = self._place(fingerprint)
        self._table[place : place + _FINGERPRINT] = fingerprint

    def __contains__(self, fingerprint: bytes) -> bool:
        place = self._place(fingerprint)
        return self._table[place : place + _FINGERPRINT] == fingerprint

    def _place(self, fingerprint: bytes) -> int:
        """The digest's place in the table, or the place where it is to be inserted."""
        slot = int.from_bytes(fingerprint[:8], "big") % self._slots
        for _ in range(self._slots):
            place = slot * _FINGERPRINT
            if self._table[place : place + _FINGERPRINT] in (fingerprint, _FREE):
                return place
            slot = (slot + 1) % self._slots
        raise EOFError(Message("tar.more_entries"))


def _contents(stream: Any, key: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields for each entry, except folders, its path below /workspace, and a keyed digest of path, kind, mode, link
    target and content."""
    with tarfile.open(fileobj=stream, mode="r|") as entries:
        for entry in entries:
            entries.members = []  # type: ignore[attr-defined]  # it would keep them all
            path = entry.name.removeprefix("workspace/")
            if entry.isdir() or is_ignored_path(path):
                continue
            file = entries.extractfile(entry) if entry.isfile() else None
            digest = hashlib.file_digest(file, "sha256").digest() if file else b""  # type: ignore[arg-type]
            about = repr((path, entry.type, entry.mode, entry.linkname, digest)).encode()
            yield path, hashlib.blake2b(about, digest_size=_FINGERPRINT, key=key).digest()
