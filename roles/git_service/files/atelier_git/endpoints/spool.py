"""An answer that waits for its reader, so that git does not: a slow reader holds a file, and no process."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from io import FileIO
from pathlib import Path

# Maximum bytes in memory; more go to disk.
_IN_MEMORY = 1024**2
_CHUNK = 65536


class Spool:
    """Bytes from one task to another, in order. On a full disk the writer waits for the reader."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: FileIO | None = None
        self._written = self._read = 0
        self._waiting: deque[bytes] = deque()
        self._in_memory = 0
        self._ended = self._abandoned = False
        self._changed = asyncio.Condition()

    async def put(self, chunk: bytes) -> None:
        async with self._changed:
            if self._abandoned:
                return
            if self._written > self._read or self._in_memory + len(chunk) > _IN_MEMORY:
                chunk = self._to_disk(chunk)
                if chunk:
                    await self._changed.wait_for(self._is_empty)
            if chunk:
                self._waiting.append(chunk)
                self._in_memory += len(chunk)
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def get(self) -> bytes:
        """The next bytes; none at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._written > self._read or self._ended)
            chunk = b""
            if self._waiting:
                chunk = self._waiting.popleft()
                self._in_memory -= len(chunk)
            elif self._file is not None and self._written > self._read:
                chunk = os.pread(self._file.fileno(), min(_CHUNK, self._written - self._read), self._read)
                self._read += len(chunk)
                if self._read == self._written:
                    self._file.truncate(0)
                    self._read = self._written = 0
            self._changed.notify_all()
            return chunk

    async def abandon(self) -> None:
        """The reader is gone: drops further data."""
        async with self._changed:
            self._abandoned = True
            self._waiting.clear()
            self._in_memory = self._read = self._written = 0
            self._changed.notify_all()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _is_empty(self) -> bool:
        return self._abandoned or (self._written == self._read and not self._waiting)

    def _to_disk(self, chunk: bytes) -> bytes:
        """Writes a chunk to disk; returns the part that did not fit."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by ``close``
            while chunk:
                count = os.pwrite(self._file.fileno(), chunk, self._written)
                self._written += count
                chunk = chunk[count:]
        except OSError:
            pass  # it is full
        return chunk
