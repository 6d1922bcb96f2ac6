"""Sockets with one deadline for a whole exchange; Python's timeout applies to each read only."""

from __future__ import annotations

import socket
import ssl
import time

_CHUNK = 65536


def seconds_left(deadline: float) -> float:
    """Seconds until the deadline, by ``time.monotonic``. Raises TimeoutError when it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer takes too long")
    return left


def connect(
    address: str | tuple[str, int], seconds: float, tls: ssl.SSLContext | None = None, server: str = ""
) -> socket.socket:
    """A connection to a Unix socket's path or to host and port, with ``tls`` to one whose certificate is for ``server``
    (by default the host). A socket that can't connect is closed at once."""
    deadline = time.monotonic() + seconds
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
    else:
        connection = socket.create_connection(address, seconds)
    try:
        connection.settimeout(seconds_left(deadline))
        if isinstance(address, str):
            connection.connect(address)
        elif tls is not None:
            return tls.wrap_socket(connection, server_hostname=server or address[0])
    except OSError:
        connection.close()
        raise
    return connection


def read_head(connection: socket.socket, deadline: float, longest: int) -> tuple[bytes, bytes]:
    """The head of an HTTP message, and what was read of its body. Raises ConnectionError for one that is longer than
    ``longest`` bytes or has no end, TimeoutError at the deadline."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        chunk = receive(connection, deadline)
        if not chunk or len(data) > longest:
            raise ConnectionError("the answer's head has no end")
        data += chunk
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    return head, rest


def receive(connection: socket.socket, deadline: float) -> bytes:
    """The next piece; empty at the end. Raises TimeoutError at the deadline."""
    connection.settimeout(seconds_left(deadline))
    return connection.recv(_CHUNK)
