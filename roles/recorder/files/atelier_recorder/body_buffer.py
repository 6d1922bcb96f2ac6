"""Bodies as they pass by: kept up to a limit, and decoded afterwards, for the recording only."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterator

import brotli

try:
    from compression import zstd
except ImportError:  # Python before 3.14
    from backports import zstd

_CHUNK = 64 * 1024


class Budget:
    """Memory for all bodies under way, in bytes. When it is used up, further ones are recorded cut off; so are those of
    an owner who has a quarter of it."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._each = limit // 4
        self._used: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, size: int, owner: str = "") -> bool:
        with self._lock:
            if size > self._free or (owner and self._used[owner] + size > self._each):
                return False
            self._free -= size
            self._used[owner] += size
            return True

    def give(self, size: int, owner: str = "") -> None:
        with self._lock:
            self._free += size
            self._used[owner] -= size
            if self._used[owner] <= 0:
                del self._used[owner]


class Tee:
    """Collects a body's chunks while they are passed on. Never raises: it runs in the proxy's own loop."""

    def __init__(self, limit: int, budget: Budget, owner: str = "") -> None:
        self._owner = owner
        self._parts: list[bytes] = []
        self._limit = limit
        self._budget = budget
        self._held = 0
        # The proxy's loop adds, the pipe's thread releases.
        self._lock = threading.Lock()
        self.size = 0
        self.truncated = False

    def add(self, chunk: bytes) -> bytes:
        """Returns the chunk, which is passed on in any case."""
        with self._lock:
            if chunk and not self.truncated:
                if self.size + len(chunk) > self._limit or not self._budget.take(len(chunk), self._owner):
                    self.truncated = True
                else:
                    self._parts.append(chunk)
                    self.size += len(chunk)
        return chunk

    def hold(self, size: int) -> bool:
        """Reserves memory for other data that is kept as long as the body. Returns False if there is none left."""
        if not self._budget.take(size, self._owner):
            return False
        self._held += size
        return True

    def content(self) -> bytes:
        return b"".join(tuple(self._parts))

    def release(self) -> None:
        """Forgets the body and gives its memory back. What comes later, because the answer came early, is only passed
        on."""
        with self._lock:
            self._budget.give(self.size + self._held, self._owner)
            self._parts, self.size, self._held = [], 0, 0
            self.truncated = True


def decode(raw: bytes, encodings: str, limit: int) -> tuple[bytes, bool]:
    """The body without its Content-Encoding, at most ``limit`` bytes, and whether that is all of it.

    What was decoded before a fault counts: a stream that was cut is readable up to there.
    """
    whole = True
    for encoding in reversed([name.strip().lower() for name in encodings.split(",") if name.strip()]):
        if encoding == "identity":
            continue
        raw, ended = _decode(raw, encoding, limit)
        whole = whole and ended
    return raw[:limit], whole and len(raw) <= limit


def _decode(raw: bytes, encoding: str, limit: int) -> tuple[bytes, bool]:
    output = bytearray()
    try:
        for part in _DECODERS[encoding](raw):
            output += part
            if len(output) > limit:
                return bytes(output), False
    except (KeyError, EOFError, zlib.error, brotli.error, zstd.ZstdError):
        return bytes(output), False
    return bytes(output), True


def _inflate(raw: bytes) -> Iterator[bytes]:
    """gzip, with as many members as there are, zlib, and the bare deflate that some servers call deflate."""
    # 47: zlib detects gzip or zlib by the header; -15: raw deflate without a header.
    bits = 47 if raw[:2] == b"\x1f\x8b" or (raw[:1] == b"\x78" and int.from_bytes(raw[:2], "big") % 31 == 0) else -15
    while raw:
        inflater = zlib.decompressobj(bits)
        while raw and not inflater.eof:
            yield inflater.decompress(raw, _CHUNK)
            raw = inflater.unconsumed_tail
        if not inflater.eof:
            raise EOFError
        raw = inflater.unused_data


def _brotli(raw: bytes) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    while part := decoder.process(raw, output_buffer_limit=_CHUNK):
        yield part
        raw = b""
    if not decoder.is_finished():
        raise EOFError


def _zstd(raw: bytes) -> Iterator[bytes]:
    while raw:
        decoder = zstd.ZstdDecompressor()
        while not decoder.eof:
            part = decoder.decompress(raw, max_length=_CHUNK)
            yield part
            raw = b""
            if not part and decoder.needs_input:
                raise EOFError
        raw = decoder.unused_data


_DECODERS = {"gzip": _inflate, "x-gzip": _inflate, "deflate": _inflate, "br": _brotli, "zstd": _zstd}
