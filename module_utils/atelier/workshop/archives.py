"""Archives of a seat's files: tar compressed with zstd, written atomically and verified."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from .tar_stream import TarError, TarWalk, broken

# Levels above zstd's default of 3 take twice the time and save 5 %.
_LEVEL = 3
_CHUNK = 1024**2
_MODE = 0o600


@dataclass(frozen=True)
class ArchiveFile:
    """An archive by the names of the manifest: its file, and the bytes and entries of the tar archive in it."""

    file: str
    bytes: int
    sha256: str
    content_bytes: int
    entries: int


def write_archive(folder: Path, chunks: Iterable[bytes], name: Callable[[str], str]) -> ArchiveFile:
    """Writes the pieces of a tar archive to a new file, verifies it, and renames it to the result of ``name`` for its
    SHA-256. Before that no file can be mistaken for an archive.

    Raises ARCHIVE_FAILED if the tar archive is incomplete or the file differs from what was written, and DISK_FULL.
    """
    with _unfinished(folder) as (path, file):
        content_size = _compress(chunks, file)
        entries = count_entries(path, content_size)
        size, digest = path.stat().st_size, sha256_of(path)
        path.replace(folder / name(digest))
    return ArchiveFile(name(digest), size, digest, content_size, entries)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count_entries(path: Path, content_size: int) -> int:
    """Reads a compressed tar archive of that many bytes to its end. Raises ARCHIVE_FAILED if it is invalid. Memory use
    does not depend on the number of entries."""
    walk = TarWalk()
    with open_archive(path) as content:
        try:
            while walk.bytes <= content_size and (chunk := content.read(_CHUNK)):
                walk.feed(chunk)
            walk.finish()
        except (TarError, EOFError) as error:
            raise broken(Message("archive.unreadable", why=error)) from error
    if walk.bytes != content_size:
        raise broken(Message("archive.shorter", bytes=walk.bytes, expected=content_size))
    return walk.entries


@contextmanager
def open_archive(path: Path) -> Iterator[IO[bytes]]:
    """Opens the tar archive for reading. Raises ARCHIVE_FAILED if that fails, also in the middle."""
    zstd = _zstd()
    try:
        with zstd.open(path, "rb") as content:
            yield content
    except (zstd.ZstdError, OSError) as error:
        raise broken(Message("archive.unreadable", why=error)) from error


def remove_unfinished(folder: Path) -> None:
    """Removes the leftovers of killed runs. The caller holds the folder's lock."""
    for path in (*folder.glob(".*.part"), *folder.glob(".manifest.json.*")):
        path.unlink(missing_ok=True)


@contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A temporary file, removed after the block unless it was renamed."""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), _MODE)
                yield Path(name), file
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        why = Message("archive_not_written", folder=folder, why=error.strerror or error)
        raise AtelierError(Code.DISK_FULL, why, field="folder") from error


def _compress(chunks: Iterable[bytes], file: IO[bytes]) -> int:
    """Returns the size of the content. The file is synced to disk. It has a checksum of the content, which is verified
    when it is read."""
    zstd, content_size = _zstd(), 0
    parameters = zstd.CompressionParameter
    with zstd.open(file, "wb", options={parameters.compression_level: _LEVEL, parameters.checksum_flag: 1}) as target:
        for chunk in chunks:
            target.write(chunk)
            content_size += len(chunk)
    file.flush()
    os.fsync(file.fileno())
    return content_size


def _zstd() -> Any:
    try:
        return import_module("compression.zstd")
    except ModuleNotFoundError:  # Python before 3.14
        return import_module("backports.zstd")
