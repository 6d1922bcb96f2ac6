"""Finds the secrets of a workspace that a snapshot must not contain.

Everything found is controlled by the seat's user: sizes, counts and links are bounded, and anything that cannot be
removed safely ends the snapshot with its path in the error. Links are followed only below the user's own folders.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import MIB
from ..common.plain_text import plain
from ..engine.client import Engine
from ..engine.models import File, content_of, is_too_large
from ..engine.parsing import ExportReader
from .secret_paths import (
    INDEX,
    KNOWN_PLACES,
    SUBMODULE_FILE,
    SUBMODULES,
    VARIABLES,
    is_tracked,
    may_hold_secrets,
    without_git_credentials,
)

# Looking at one path costs Docker some 5 ms, and the source is paused meanwhile.
_READERS = 8
# A known place that holds more than this is something else, and would have to be moved through memory.
LARGEST_PLACE = 32 * MIB
_MOST_BYTES = 128 * MIB  # of all places together, as archives have it
_MOST_LINKS = 64  # in one place
# What submodules fetched is passed over; only git's settings among it are looked at.
_SUBMODULE_SECONDS = 60.0
_LARGEST_SUBMODULE_FILE = MIB


@dataclass(frozen=True)
class Secret:
    """A secret file: its path, mode and content, and its replacement during the commit."""

    path: str
    uid: int
    gid: int
    mode: int
    mtime: float
    content: bytes
    replacement: bytes

    def original(self) -> File:
        return File(PurePosixPath(self.path), self.content, self.uid, self.gid, self.mode, self.mtime)

    def stand_in(self) -> File:
        return File(PurePosixPath(self.path), self.replacement, self.uid, self.gid, self.mode, self.mtime)


class _Budget:
    """What all readers together may still read."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._turn = threading.Lock()

    def take(self, path: str, size: int) -> None:
        """Raises when there is no more, from then on to every reader."""
        with self._turn:
            self._left -= size
            if self._left < 0:
                raise _NotHeld(path, Message("places_too_large", most=_MOST_BYTES // MIB))


class _NotHeld(Exception):
    """A location that cannot be excluded, and why."""

    def __init__(self, path: str, why: Message) -> None:
        super().__init__(path, why)
        self.path, self.why = plain(path), why


def find_secrets(engine: Engine, container: str, name: str) -> list[Secret]:
    """All secrets in well-known locations. Raises SNAPSHOT_FAILED for a location that cannot be excluded, with the
    workspace's ``name``."""
    try:
        return _find(engine, container)
    except _NotHeld as fault:
        why = Message("secrets_not_held", name=name, path=fault.path, why=fault.why)
        raise AtelierError(Code.SNAPSHOT_FAILED, why, field="source") from fault


def _find(engine: Engine, container: str) -> list[Secret]:
    budget = _Budget(_MOST_BYTES)

    def look(place: str) -> list[Secret]:
        if place == SUBMODULES:
            return list(_in_submodules(engine, container, budget))
        return list(_Place(engine, container, place, budget).secrets(place))

    with ThreadPoolExecutor(_READERS) as readers:
        found = list(readers.map(look, (*KNOWN_PLACES, SUBMODULES)))
    # By path: two links may lead to one file.
    secrets = {secret.path: secret for secrets in found for secret in secrets}
    if not secrets.keys().isdisjoint(VARIABLES):
        index = _index(engine, container)
        secrets = {
            path: secret for path, secret in secrets.items() if path not in VARIABLES or not is_tracked(index, path)
        }
    return list(secrets.values())


def _index(engine: Engine, container: str) -> bytes:
    """Git's index of the workspace; empty when there is none, or one that is too large."""
    try:
        archive = engine.read(container, INDEX, LARGEST_PLACE, lambda _: False)
    except AtelierError as error:
        if "limit" not in error.details:
            raise
        return b""
    return (archive.first_file() if archive else None) or b""


class _Place:
    """One known place, and what links in it lead to."""

    def __init__(self, engine: Engine, container: str, place: str, budget: _Budget) -> None:
        self._engine = engine
        self._budget = budget
        self._container = container
        self._place = place
        self._seen: set[PurePosixPath] = set()
        self._links = 0

    def secrets(self, path: str) -> Iterator[Secret]:
        """The files at and below the path whose content may not be handed out."""
        self._budget.take(path, 0)
        try:
            archive = self._engine.read(self._container, path, LARGEST_PLACE, may_hold_secrets)
        except AtelierError as error:
            if not is_too_large(error):
                raise
            raise _NotHeld(path, Message("place_too_large", most=LARGEST_PLACE // MIB)) from error
        if archive is None or archive.path in self._seen:
            return
        self._seen.add(archive.path)
        self._budget.take(path, len(archive.data))
        stand_in = KNOWN_PLACES[self._place]
        with tarfile.open(fileobj=io.BytesIO(archive.data)) as entries:
            for entry in entries:
                file = archive.path.parent / entry.name
                if entry.issym():
                    self._links += 1
                    if self._links > _MOST_LINKS:
                        raise _NotHeld(self._place, Message("too_many_links", most=_MOST_LINKS))
                    yield from self.secrets(str(file))
                content = content_of(entries, entry)
                if content is not None and stand_in(content) != content:
                    yield _secret(str(file), entry, content, stand_in(content))


def _in_submodules(engine: Engine, container: str, budget: _Budget) -> Iterator[Secret]:
    """The settings of git's submodules, passing over what else was fetched there."""
    if not _exists(engine, container, SUBMODULES):
        return
    pieces = _in_time(engine.stream(container, SUBMODULES, _SUBMODULE_SECONDS))
    top = PurePosixPath(SUBMODULES).parent
    with closing(pieces), tarfile.open(fileobj=ExportReader(pieces), mode="r|", bufsize=MIB) as entries:
        for entry in entries:
            entries.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            path = top / entry.name
            if not entry.isreg() or path.name != SUBMODULE_FILE:
                continue
            if entry.size > _LARGEST_SUBMODULE_FILE:
                raise _NotHeld(str(path), Message("place_too_large", most=_LARGEST_SUBMODULE_FILE // MIB))
            budget.take(str(path), tarfile.BLOCKSIZE + entry.size)
            content = content_of(entries, entry) or b""
            if without_git_credentials(content) != content:
                yield _secret(str(path), entry, content, without_git_credentials(content))


def _exists(engine: Engine, container: str, path: str) -> bool:
    try:
        return engine.read(container, path, 0, lambda _: False) is not None
    except AtelierError as error:
        if not is_too_large(error):
            raise
        return True


def _in_time(pieces: Generator[bytes]) -> Generator[bytes]:
    deadline = time.monotonic() + _SUBMODULE_SECONDS
    with closing(pieces):
        for piece in pieces:
            if time.monotonic() > deadline:
                raise _NotHeld(SUBMODULES, Message("reading_too_long", seconds=_SUBMODULE_SECONDS))
            yield piece


def _secret(path: str, entry: tarfile.TarInfo, content: bytes, replacement: bytes) -> Secret:
    return Secret(path, entry.uid, entry.gid, entry.mode, float(entry.mtime), content, replacement)
