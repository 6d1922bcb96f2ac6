"""The messages from the proxy to the writer, each with the address of the seat that it comes from.

The writer is a separate process, because parsing, redacting and writing megabytes of JSON would delay everybody's
streams in the proxy's process. All times are milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass


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
class SocketOpened(Exchanged):
    """The request that opened a WebSocket."""


@dataclass(frozen=True)
class SocketMessage:
    number: int
    address: str
    from_client: bool
    at: int
    content: bytes


@dataclass(frozen=True)
class SocketClosed:
    number: int
    address: str
    at: int


Message = DomainSeen | Exchanged | SocketOpened | SocketMessage | SocketClosed


def weight(message: Message) -> int:
    """Bytes in the message that a seat chose. Host names are cut before."""
    if isinstance(message, SocketMessage):
        return len(message.content)
    if isinstance(message, Exchanged):
        return sum(map(len, (message.request, message.response, message.url, *message.secrets)))
    return 0
