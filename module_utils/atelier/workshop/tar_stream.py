"""Counts, checks and limits a tar archive while it is streamed, with constant memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import MIB, ArchiveLimits

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_END_BLOCKS = 2
# Entries that only describe the next one, and entries that have no content, even if their size is not 0.
_DESCRIPTIONS = b"xgLK"
_WITHOUT_CONTENT = b"123456"
# Docker writes paths and extended attributes there, which the kernel bounds.
_LONGEST_DESCRIPTION = 1024**2


class TarError(ValueError):
    """The data is not a tar archive, or not all of one."""


class TarWalk:
    """Parses a tar archive in pieces and counts its entries. Raises TarError for invalid data."""

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0
        self._header = b""
        self._skip = 0
        self._description: bytearray | None = None
        self._next_size: int | None = None
        self._end_blocks = 0

    def feed(self, data: bytes) -> None:
        place = 0
        self.bytes += len(data)
        while place < len(data):
            if self._skip:
                step = min(self._skip, len(data) - place)
                if self._description is not None:
                    self._description += data[place : place + step]
                self._skip -= step
            else:
                step = min(_BLOCK - len(self._header), len(data) - place)
                self._header += data[place : place + step]
                if len(self._header) == _BLOCK:
                    block, self._header = self._header, b""
                    self._read(block)
            place += step

    def finish(self) -> None:
        """Raises TarError unless the archive ended where its pieces do."""
        if self._skip or self._header or self._end_blocks != _END_BLOCKS:
            raise TarError(Message("tar.breaks_off", bytes=self.bytes))

    def _read(self, block: bytes) -> None:
        if block == _ZEROS and self._end_blocks < _END_BLOCKS:
            self._end_blocks += 1
            return
        if self._end_blocks:
            raise TarError(Message("tar.no_end"))
        try:
            if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
                raise ValueError("the checksum differs")
            if self._description is not None:
                self._next_size = _size_in(bytes(self._description)) or self._next_size
                self._description = None
            size = _number(block[124:136])
        except ValueError as error:
            raise TarError(Message("tar.damaged", entry=self.entries + 1)) from error
        kind = block[156:157]
        if kind in _DESCRIPTIONS and kind:
            if size > _LONGEST_DESCRIPTION:
                raise TarError(Message("tar.long_description", entry=self.entries + 1, bytes=size))
            self._description = bytearray() if kind == b"x" else None
        else:
            self.entries += 1
            size = 0 if kind in _WITHOUT_CONTENT else size if self._next_size is None else self._next_size
            self._next_size = None
        self._skip = -(-size // _BLOCK) * _BLOCK


def _number(field: bytes) -> int:
    """Parses a number: octal digits, or base 256 for large numbers (tar(5))."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _size_in(description: bytes) -> int | None:
    """The size in a PAX description, whose records are ``<length> <key>=<value>\\n``."""
    found, place = None, 0
    while place < len(description) and description[place : place + 1] != b"\0":
        blank = description.index(b" ", place)
        length = int(description[place:blank])
        if length <= 0:
            raise ValueError("a record without length")
        key, _, value = description[blank + 1 : place + length - 1].partition(b"=")
        if key == b"size":
            found = int(value)
        place += length
    return found


def within(chunks: Iterable[bytes], limits: ArchiveLimits, name: str) -> Iterator[bytes]:
    """The pieces of the tar archive of a seat's /workspace, as long as they keep the limits.

    Raises ARCHIVE_FAILED with the seat's name and the limit. The caller closes ``chunks``.
    """
    walk, deadline = TarWalk(), time.monotonic() + limits.seconds
    for chunk in chunks:
        try:
            walk.feed(chunk)
        except TarError as error:
            raise broken(error) from error
        beyond = _beyond(limits, walk, late=time.monotonic() > deadline)
        if beyond:
            fault = Message(beyond[0], name=name, most=beyond[1])
            raise AtelierError(Code.ARCHIVE_FAILED, fault, remedy=Message("make_archive_smaller"))
        yield chunk


def _beyond(limits: ArchiveLimits, walk: TarWalk, *, late: bool) -> tuple[str, float] | None:
    """The message on the limit that is passed, and the limit."""
    if walk.entries > limits.entries:
        return "archive_entries", limits.entries
    if walk.bytes > limits.content_bytes:
        return "archive_mib", limits.content_bytes // MIB
    return ("archive_seconds", limits.seconds) if late else None


def broken(why: Message | Exception) -> AtelierError:
    """``why``: a part of a sentence, or an error of this package that holds one."""
    return AtelierError(Code.ARCHIVE_FAILED, Message("archive_broken", why=why))
