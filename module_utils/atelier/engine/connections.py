"""Connections to engines: their addresses, and how soon the loss of a machine is noticed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

# A machine that lost its network says nothing. Its connections end after this long without an answer of its kernel.
_LOST_SECONDS = 10
_PROBE_SECONDS = 3


def address_of(url: str) -> str | tuple[str, int]:
    """The path of a Unix socket, or host and port."""
    place = urlsplit(url)
    return place.path if place.scheme.endswith("unix") else (place.hostname or "localhost", place.port or 2375)


def watched_connections() -> HTTPAdapter:
    """The adapter for the SDK's requests to another machine. Without it a read would wait for its whole timeout."""
    from requests.adapters import HTTPAdapter

    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _LOST_SECONDS // _PROBE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOST_SECONDS * 1000),
        (socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]

    class Watched(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
            super().init_poolmanager(*arguments, **more, socket_options=options)

    return Watched()
