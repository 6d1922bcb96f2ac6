"""Runs in the recorder's image: mitmproxy with the recorder's limits, a server behind it, and a client that sends too
much. Prints what each attack sent in bytes, and the largest memory of the process in MiB, as JSON."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import resource
import struct
from collections.abc import Iterable
from itertools import repeat

from atelier_recorder.proxy import bounds
from mitmproxy import http, options
from mitmproxy.tools import dump

PROXY, SERVER = 18999, 18998
PIECE = b"1" * 65536
MOST = 300 * 1024**2
SECONDS = 8


class Streaming:
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.request.stream = True


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))}
    if b"sec-websocket-key" in lines:
        key = lines[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())  # noqa: S324 - RFC 6455
        writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
        writer.write(accept + b"\r\n\r\n")
        while await reader.read(65536):
            pass
    elif b"/never" in head:
        await asyncio.sleep(60)
    else:
        left = int(lines.get(b"content-length", b"0"))
        while left > 0:
            left -= len(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


async def listens() -> bool:
    """Whether the proxy has started."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", PROXY)
    except OSError:
        return False
    writer.close()
    return True


async def send(
    head: bytes, pieces: Iterable[bytes], upgraded: bytes = b"", *, seconds: float = SECONDS
) -> tuple[int, str]:
    """Sends a request; returns the number of bytes that the proxy took within some seconds, and its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PROXY)
    writer.write(head)
    sent = 0
    try:
        if upgraded:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(upgraded)
        async with asyncio.timeout(seconds):
            for piece in pieces:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                if sent >= MOST:
                    break
            return sent, (await reader.read(400)).decode(errors="replace")
    except (TimeoutError, ConnectionError) as error:
        try:
            async with asyncio.timeout(1):
                return sent, (await reader.read(400)).decode(errors="replace")
        except (TimeoutError, ConnectionError):
            return sent, type(error).__name__
    finally:
        writer.close()


async def main() -> None:
    bounds.install()
    chosen = options.Options(listen_host="127.0.0.1", listen_port=PROXY)
    master = dump.DumpMaster(chosen, loop=asyncio.get_running_loop(), with_termlog=False, with_dumper=False)
    master.addons.add(Streaming())
    running = asyncio.create_task(master.run())
    server = await asyncio.start_server(serve, "127.0.0.1", SERVER)
    async with asyncio.timeout(60):
        while not running.done() and not await listens():
            await asyncio.sleep(0.1)
    to = f"http://127.0.0.1:{SERVER}/".encode()
    websocket = (
        b"GET "
        + to
        + b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    found = {
        "honest": await send(
            b"POST " + to + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 65536000\r\n\r\n",
            repeat(PIECE, 1000),
            seconds=120,
        ),
        "headers": await send(b"GET " + to + b" HTTP/1.1\r\nX: ", repeat(PIECE)),
        "pipelined": await send(b"GET " + to + b"never HTTP/1.1\r\nHost: a\r\n\r\n", repeat(PIECE)),
        "chunk": await send(
            b"POST " + to + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", repeat(PIECE)
        ),
        "websocket": await send(websocket, repeat(PIECE), b"\x82\xff" + struct.pack("!Q", 2**30) + b"\0\0\0\0"),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))
    assert not running.done()
    server.close()
    os._exit(0)


asyncio.run(main())
