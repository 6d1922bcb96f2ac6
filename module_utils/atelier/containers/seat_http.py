"""One HTTP request to a seat, with a deadline and a size limit.

Any program may listen on a seat's ports. Python's client has timeouts per read only, and raises many kinds of errors
for invalid responses.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..common.bounded_socket import connect, read_head, receive, seconds_left

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_LONGEST_HEAD = 65536
_LENGTH = re.compile("[0-9]{1,9}")
_PATH = re.compile("/[!-~]*")


@dataclass(frozen=True)
class SeatResponse:
    """``headers`` are by their names in small letters, the first of each name. ``body`` is as it came, perhaps in the
    pieces of HTTP's chunked coding, and cut at the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """The body as JSON; None if invalid."""
        try:
            return json.loads(self.body)
        # RecursionError: a few thousand opening brackets.
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class SeatRoute:
    """The controller's route to the seats of one machine: direct, or through the node's gateway, which needs the seat's
    address in a header (the role node_gateway)."""

    node: str = ""
    gateway: tuple[str, int] | None = None
    tls: ssl.SSLContext | None = None

    def ask(self, address: str, port: int, path: str, *, seconds: float, limit: int) -> SeatResponse:
        """Like the function ``ask``, for the seat with that address."""
        if self.gateway is None:
            return ask((address, port), path, seconds=seconds, limit=limit)
        seat = {"Host": f"{address}:{port}", "X-Atelier-Seat": f"{address}:{port}"}
        return ask(self.gateway, path, seconds=seconds, limit=limit, headers=seat, tls=self.tls, server=self.node)


DIRECT = SeatRoute()


def ask(
    place: tuple[str, int],
    path: str,
    *,
    seconds: float,
    limit: int,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    server: str = "",
) -> SeatResponse:
    """The answer to a GET request. Redirects are not followed. An answer's body ends at ``limit`` bytes, with head.
    ``server`` is the name in the certificate, if that is not the host.

    Raises OSError (TimeoutError, ConnectionError, ...) for an invalid or incomplete response within ``seconds``.
    """
    if not _PATH.fullmatch(path):
        raise ConnectionError("no path")  # a redirect may lead anywhere
    deadline = time.monotonic() + seconds
    asked = {"Host": f"{place[0]}:{place[1]}", "Connection": "close", "Accept-Encoding": "identity", **(headers or {})}
    head = "".join([f"GET {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in asked.items()), "\r\n"])
    with closing(connect(place, seconds_left(deadline), tls, server)) as connection:
        connection.sendall(head.encode("latin-1"))
        return _answer(connection, deadline, limit)


def _answer(connection: socket.socket, deadline: float, limit: int) -> SeatResponse:
    head, body = read_head(connection, deadline, min(limit, _LONGEST_HEAD))
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ConnectionError("the answer is no HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    number = int(status[1])
    most = limit - len(head)
    length = headers.get("content-length", "")
    if number in (101, 204, 304):
        most = 0
    elif _LENGTH.fullmatch(length):
        most = min(most, int(length))
    rest = bytearray(body)
    while len(rest) < most and (chunk := receive(connection, deadline)):
        rest += chunk
    return SeatResponse(number, headers, bytes(rest[: max(most, 0)]))
