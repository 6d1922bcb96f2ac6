"""Archives of what a seat holds: tar, compressed with zstd, whole or not there, and read again before they count."""

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

# Above zstd's own default of 3 it takes twice the time for a twentieth of the size.
_LEVEL = 3
_CHUNK = 1024**2
# A tar archive ends with two blocks of zeros; without them what was written before may not be all.
_END = bytes(1024)
_MODE = 0o600


@dataclass(frozen=True)
class ArchiveFile:
    """A file, its size and SHA-256, and what is in it: bytes of the tar archive, and its entries."""

    path: Path
    size: int
    sha256: str
    content_size: int
    entries: int


def write_archive(folder: Path, chunks: Iterable[bytes], name: Callable[[str], str]) -> ArchiveFile:
    """Writes the pieces of a tar archive to a new file, reads that again, and gives it the name that ``name`` makes of
    its SHA-256. Until then there is no file that could be taken for one.

    Raises ARCHIVE_FAILED when the tar archive is not whole, or does not come back from the disk as it was written, and
    DISK_FULL.
    """
    with _unfinished(folder) as (path, file):
        size, content_size, digest = _compress(chunks, file)
        again = sha256_of(path)
        if (path.stat().st_size, again) != (size, digest):
            raise broken(f"{path.name} differs from what was written.")
        entries = count_entries(path, content_size)
        whole = folder / name(digest)
        path.replace(whole)
    return ArchiveFile(whole, size, digest, content_size, entries)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count_entries(path: Path, content_size: int) -> int:
    """Walks through a compressed tar archive of that many bytes to its very end. Raises ARCHIVE_FAILED when it is not
    one. Memory stays the same however many entries it has."""
    walk = TarWalk()
    with open_archive(path) as content:
        try:
            while walk.bytes <= content_size and (chunk := content.read(_CHUNK)):
                walk.feed(chunk)
            walk.finish()
        except (TarError, EOFError) as error:
            raise broken(f"it cannot be read back: {error}.") from error
    if walk.bytes != content_size:
        raise broken(f"it has {walk.bytes} of {content_size} bytes.")
    return walk.entries


@contextmanager
def open_archive(path: Path) -> Iterator[IO[bytes]]:
    """The tar archive in it, to be read from its beginning. Raises ARCHIVE_FAILED when that can't be done, also in the
    middle."""
    zstd = _zstd()
    try:
        with zstd.open(path, "rb") as content:
            yield content
    except (zstd.ZstdError, OSError) as error:
        raise broken(f"it cannot be read back: {error}.") from error


def remove_unfinished(folder: Path) -> None:
    """Takes away what runs that were killed left. The caller holds the folder's lock."""
    for path in (*folder.glob(".*.part"), *folder.glob(".manifest.json.*")):
        path.unlink(missing_ok=True)


@contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file that is gone after the block unless it got another name in it."""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), _MODE)
                yield Path(name), file
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        full = AtelierError(
            Code.DISK_FULL, Message("archive_not_written", folder=folder, why=error.strerror or error), field="folder"
        )
        raise full from error


def _compress(chunks: Iterable[bytes], file: IO[bytes]) -> tuple[int, int, str]:
    """Size of the file, of its content, and SHA-256 of the file. When this returns it is on the disk."""
    zstd = _zstd()
    parameters = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(options={parameters.compression_level: _LEVEL, parameters.checksum_flag: 1})
    digest = hashlib.sha256()
    size = content_size = 0
    tail = b""

    def write(data: bytes) -> None:
        nonlocal size
        file.write(data)
        digest.update(data)
        size += len(data)

    for chunk in chunks:
        write(compressor.compress(chunk))
        content_size += len(chunk)
        tail = (tail + chunk)[-len(_END) :] if len(chunk) < len(_END) else chunk[-len(_END) :]
    if tail != _END:
        raise broken("Docker interrupted the transfer.")
    write(compressor.flush())
    file.flush()
    os.fsync(file.fileno())
    return size, content_size, digest.hexdigest()


def _zstd() -> Any:
    try:
        return import_module("compression.zstd")
    except ModuleNotFoundError:  # Python before 3.14
        return import_module("backports.zstd")
