"""Limits mitmproxy's memory per connection. It has no limits itself, and serves all seats.

Patched into mitmproxy 12 (requirements.txt has the version); molecule/recorder tries each against the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import h11
import wsproto.events
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.proxy import server
from mitmproxy.proxy.layers import websocket
from mitmproxy.proxy.layers.http import _http1, _http2
from mitmproxy.proxy.layers.http._events import RequestData

# A request's line and headers, a chunk's line, or what a client sends while its request is still answered.
HEAD_BYTES = 256 * 1024
# Maximum bytes of one WebSocket message; no model accepts a larger one.
MESSAGE_BYTES = 16 * 1024**2
# A body that was read and can't be passed on yet, since its server does not answer.
WAITING_BYTES = 2 * 1024**2
_LOOK_SECONDS = 0.05
_TOO_BIG = 1009  # RFC 6455, "message too big"


class BoundedBuffer(ReceiveBuffer):
    """Accepts at most HEAD_BYTES. When full it returns an invalid line, so that the reader refuses the sender."""

    overflown = False

    def __iadd__(self, data: bytes | bytearray) -> BoundedBuffer:
        if len(self) + len(data) > HEAD_BYTES:
            self.overflown = True
        else:
            super().__iadd__(data)
        return self

    def maybe_extract_lines(self) -> list[bytearray] | None:
        found = super().maybe_extract_lines()
        if found is None and self.overflown:
            return [bytearray(b"too large")]
        return found

    def maybe_extract_next_line(self) -> bytearray | None:
        found = super().maybe_extract_next_line()
        if found is None and self.overflown:
            raise h11.RemoteProtocolError("a line is too long")
        return found


class _Piece(RequestData):  # type: ignore[misc]
    """A piece of a request's body, which counts for its connection as long as anybody holds it."""

    holder: Any = None

    def __del__(self) -> None:
        if self.holder in _waiting:
            _waiting[self.holder] -= len(self.data)


_waiting: dict[str, int] = {}


def _counted(self: Any, stream_id: int, data: bytes) -> RequestData:
    piece = _Piece(stream_id, data)
    if self.conn.id in _waiting:
        _waiting[self.conn.id] += len(data)
        piece.holder = self.conn.id
    return piece


class _Paced:
    """A client's reader that reads more only after the data so far was passed on."""

    def __init__(self, reader: Any, connection: str) -> None:
        self._reader, self._connection = reader, connection

    async def read(self, size: int) -> bytes:
        while _waiting.get(self._connection, 0) > WAITING_BYTES:
            await asyncio.sleep(_LOOK_SECONDS)
        return bytes(await self._reader.read(size))


def install() -> None:
    """Puts the limits in. Once, before the proxy runs."""
    _http1.ReceiveBuffer = BoundedBuffer
    _http1.Http1Server.ReceiveData = _counted
    _http2.Http2Server.ReceiveData = _counted
    read_events = websocket.WebsocketConnection.events

    def events(self: Any) -> Generator[Any]:
        for event in read_events(self):
            yield event
            # The part of the message that the relay has collected so far.
            if isinstance(event, wsproto.events.Message) and sum(map(len, self.frame_buf)) > MESSAGE_BYTES:
                self.frame_buf = [b""]
                yield wsproto.events.CloseConnection(code=_TOO_BIG, reason="message too big for the recorder")
                return

    websocket.WebsocketConnection.events = events
    handle = server.ConnectionHandler.handle_connection

    async def handle_connection(self: Any, connection: Any) -> None:
        if connection is not self.client:
            await handle(self, connection)
            return
        io = self.transports[connection]
        _waiting[connection.id] = 0
        io.reader = _Paced(io.reader, connection.id)
        try:
            await handle(self, connection)
        finally:
            _waiting.pop(connection.id, None)

    server.ConnectionHandler.handle_connection = handle_connection
