"""Sockets with one deadline for a whole exchange; Python's timeout applies to each read only."""

from __future__ import annotations

import socket
import time

_CHUNK = 65536


def seconds_left(deadline: float) -> float:
    """Seconds until the deadline, by ``time.monotonic``. Raises TimeoutError when it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer takes too long")
    return left


def connect(address: str | tuple[str, int], seconds: float) -> socket.socket:
    """A connection to a Unix socket's path or to host and port. A socket that can't connect is closed at once."""
    if not isinstance(address, str):
        return socket.create_connection(address, seconds)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(seconds)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def receive(connection: socket.socket, deadline: float) -> bytes:
    """The next piece; empty at the end. Raises TimeoutError at the deadline."""
    connection.settimeout(seconds_left(deadline))
    return connection.recv(_CHUNK)
