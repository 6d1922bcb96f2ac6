"""The messages from the proxy to the writer, and their encoding.

The writer is a separate process, because parsing, redacting and writing megabytes of JSON would delay everybody's
streams in the proxy's process. All times are milliseconds since 1970.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True)
class DomainSeen:
    address: str
    host: str
    at: int


@dataclass(frozen=True)
class Exchanged:
    """An HTTP call, possibly incomplete. ``number`` identifies it; it is sent repeatedly until it is ``final``."""

    number: int
    address: str
    api: str
    any_host: bool
    url: str
    method: str
    secrets: tuple[str, ...]
    started: int
    first_byte: int = 0
    finished: int = 0
    status: int = 0
    request: bytes = b""
    request_encoding: str = ""
    response: bytes = b""
    response_encoding: str = ""
    response_type: str = ""
    truncated: bool = False
    error: str | None = None
    ended: bool = False
    final: bool = False


@dataclass(frozen=True)
class SocketOpened:
    number: int
    address: str
    api: str
    url: str
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class SocketMessage:
    number: int
    from_client: bool
    at: int
    content: bytes


@dataclass(frozen=True)
class SocketClosed:
    number: int
    at: int


Message = DomainSeen | Exchanged | SocketOpened | SocketMessage | SocketClosed


def weight(message: Message) -> int:
    """Bytes in the message that a seat chose. Host names are cut before."""
    if isinstance(message, SocketMessage):
        return len(message.content)
    if isinstance(message, Exchanged | SocketOpened):
        bodies = len(message.request) + len(message.response) if isinstance(message, Exchanged) else 0
        return bodies + len(message.url) + sum(map(len, message.secrets))
    return 0


def pack(message: Message) -> bytes:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


class Unpacker:
    """Decodes messages from the bytes of the pipe, which arrive in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        found: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            # The pipe's other end is the process that started this one.
            found.append(pickle.loads(self._buffer[_LENGTH.size : end]))  # noqa: S301
            del self._buffer[:end]
        return found
