"""A log of JSON lines in rotating files of a fixed total size; it buffers lines while the disk is full."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Lines kept in memory while they can't be written. Beyond that the oldest are dropped.
_MOST_WAITING = 10_000


class Logbook:
    """Appends entries to ``path``. At ``file_bytes`` the file becomes ``path.1`` and so on; ``files`` are kept.

    Lines are written completely or not at all. Lines that cannot be written (full disk) wait in memory, in order, until
    the next line or ``flush``. Thread-safe.
    """

    def __init__(self, path: Path, *, file_bytes: int, files: int) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._files = files
        self._turn = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._dropped = 0

    def append(self, *entries: Mapping[str, object]) -> None:
        with self._turn:
            self._waiting.extend(json.dumps(entry).encode() + b"\n" for entry in entries)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._write()

    def flush(self) -> None:
        """Writes the waiting lines if there is space again."""
        with self._turn:
            self._write()

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Returns the last ``limit`` entries, newest first."""
        entries: list[dict[str, Any]] = []
        with self._turn:
            present = [*_lines(self._path), *self._waiting]
        for line in self._lines_backwards(present):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the machine went down while it was written
            if isinstance(entry, dict):
                entries.append(entry)
            if len(entries) >= limit:
                break
        return entries

    def _lines_backwards(self, present: list[bytes]) -> Iterator[bytes]:
        yield from reversed(present)
        for number in range(1, self._files):
            yield from reversed(_lines(self._numbered(number)))

    def _write(self) -> None:
        try:
            while self._waiting:
                self._write_line(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            log.error("%d lines of %s wait to be written: %s", len(self._waiting), self._path, error)
            return
        if self._dropped:
            log.error("%d lines of %s were dropped because the disk was full", self._dropped, self._path)
            self._dropped = 0

    def _write_line(self, line: bytes) -> None:
        # Less than the size, because a byte more may be needed below.
        if self._path.exists() and self._path.stat().st_size + len(line) >= self._file_bytes:
            self._rotate()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            # A line that was cut off must not become the start of the next one.
            mend = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
            self._append_whole(descriptor, size, mend + line)
        finally:
            os.close(descriptor)

    @staticmethod
    def _append_whole(descriptor: int, size: int, text: bytes) -> None:
        try:
            written = os.write(descriptor, text)
            if written < len(text):
                os.write(descriptor, text[written:])  # raises the reason why the rest could not be written
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            if self._numbered(number - 1).exists():
                self._numbered(number - 1).replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
