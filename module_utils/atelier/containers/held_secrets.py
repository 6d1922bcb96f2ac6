"""Finds the secrets of a workspace that a snapshot must not contain.

Everything found is controlled by the seat's user: sizes, counts and links are bounded, and anything that cannot be
removed safely ends the snapshot with its path in the error. Links are followed only below the user's own folders.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import MIB
from ..engine.client import Engine
from ..engine.models import File, TooLarge, content_of
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


class _NotHeld(Exception):
    """A location that cannot be excluded, and why."""

    def __init__(self, path: str, why: Message) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why


def find_secrets(engine: Engine, container: str, name: str) -> list[Secret]:
    """All secrets in well-known locations. Raises SNAPSHOT_FAILED for a location that cannot be excluded, with the
    workspace's ``name``."""
    try:
        return _Search(engine, container).secrets()
    except _NotHeld as fault:
        why = Message("secrets_not_held", name=name, path=fault.path, why=fault.why)
        raise AtelierError(Code.SNAPSHOT_FAILED, why, field="source") from fault


class _Search:
    """One search in a container, by several readers."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self._container = engine, container
        self._left = _MOST_BYTES
        self._turn = threading.Lock()

    def secrets(self) -> list[Secret]:
        with ThreadPoolExecutor(_READERS) as readers:
            found = list(readers.map(self._found_in, (*KNOWN_PLACES, SUBMODULES)))
        # By path: two links may lead to one file.
        secrets = {secret.path: secret for secrets in found for secret in secrets}
        variables = secrets.keys() & VARIABLES
        if variables:
            index = self._index()
            for path in variables:
                if is_tracked(index, path):
                    del secrets[path]
        return list(secrets.values())

    def _found_in(self, place: str) -> list[Secret]:
        return list(self._in_submodules() if place == SUBMODULES else self._in_place(place))

    def _take(self, path: str, size: int) -> None:
        """Raises when all readers together have read too much, from then on to every reader."""
        with self._turn:
            self._left -= size
            if self._left < 0:
                raise _NotHeld(path, Message("places_too_large", most=_MOST_BYTES // MIB))

    def _in_place(self, place: str) -> Iterator[Secret]:
        """The files of a known place, and of what links in it lead to, whose content may not be handed out."""
        paths, seen, links = [place], set[PurePosixPath](), 0
        while paths:
            path = paths.pop()
            self._take(path, 0)
            try:
                archive = self._engine.read(self._container, path, LARGEST_PLACE, may_hold_secrets)
            except TooLarge as error:
                raise _NotHeld(path, Message("place_too_large", most=LARGEST_PLACE // MIB)) from error
            if archive is None or archive.path in seen:
                continue
            seen.add(archive.path)
            self._take(path, len(archive.data))
            with tarfile.open(fileobj=io.BytesIO(archive.data)) as entries:
                for entry in entries:
                    file = str(archive.path.parent / entry.name)
                    if entry.issym():
                        links += 1
                        if links > _MOST_LINKS:
                            raise _NotHeld(place, Message("too_many_links", most=_MOST_LINKS))
                        paths.append(file)
                    yield from _secret(file, entry, content_of(entries, entry), KNOWN_PLACES[place])

    def _in_submodules(self) -> Iterator[Secret]:
        """The settings of git's submodules, passing over what else was fetched there."""
        try:
            if self._engine.read(self._container, SUBMODULES, 0, lambda _: False) is None:
                return
        except TooLarge:
            pass  # there are some
        pieces = _in_time(self._engine.stream(self._container, SUBMODULES, _SUBMODULE_SECONDS))
        top = PurePosixPath(SUBMODULES).parent
        with closing(pieces), tarfile.open(fileobj=ExportReader(pieces), mode="r|", bufsize=MIB) as entries:
            for entry in entries:
                entries.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                path = top / entry.name
                if not entry.isreg() or path.name != SUBMODULE_FILE:
                    continue
                if entry.size > _LARGEST_SUBMODULE_FILE:
                    raise _NotHeld(str(path), Message("place_too_large", most=_LARGEST_SUBMODULE_FILE // MIB))
                self._take(str(path), tarfile.BLOCKSIZE + entry.size)
                yield from _secret(str(path), entry, content_of(entries, entry), without_git_credentials)

    def _index(self) -> bytes:
        """Git's index of the workspace; empty when there is none, or one that is too large."""
        try:
            archive = self._engine.read(self._container, INDEX, LARGEST_PLACE, lambda _: False)
        except AtelierError as error:
            if "limit" not in error.details:
                raise
            return b""
        return (archive.first_file() if archive else None) or b""


def _in_time(pieces: Generator[bytes]) -> Generator[bytes]:
    deadline = time.monotonic() + _SUBMODULE_SECONDS
    with closing(pieces):
        for piece in pieces:
            if time.monotonic() > deadline:
                raise _NotHeld(SUBMODULES, Message("reading_too_long", seconds=_SUBMODULE_SECONDS))
            yield piece


def _secret(
    path: str, entry: tarfile.TarInfo, content: bytes | None, stand_in: Callable[[bytes], bytes]
) -> Iterator[Secret]:
    """The file, unless it is none or its content needs no stand-in."""
    if content is not None and (replacement := stand_in(content)) != content:
        yield Secret(path, entry.uid, entry.gid, entry.mode, float(entry.mtime), content, replacement)
