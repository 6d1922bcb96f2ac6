"""A program in a seat: one call through the recorder, with arguments and result as JSON.

The argument is an object: ``proxy`` and ``target`` ([host, port]), ``path``, ``body``, ``headers``, or ``connect`` to
only open a tunnel, or ``socket`` with the messages to send over a WebSocket. Uses the standard library only.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import sys
import time
from typing import Any


def call(order: dict[str, Any]) -> dict[str, Any]:
    """The status, the body, and when (seconds since the call) each piece of it came."""
    connection = http.client.HTTPSConnection(*order["proxy"], context=context(), timeout=30)
    connection.set_tunnel(*order["target"])
    begin = time.monotonic()
    connection.request("POST" if "body" in order else "GET", order["path"], order.get("body"), order.get("headers", {}))
    answer = connection.getresponse()
    pieces = []
    with contextlib.suppress(http.client.IncompleteRead):  # the answer may be cut off
        while piece := answer.read1(65536):
            pieces.append((round(time.monotonic() - begin, 3), piece.decode()))
            if order.get("leave_after") == len(pieces):
                break
    return {"status": answer.status, "pieces": pieces, "body": "".join(text for _, text in pieces)}


def connect(order: dict[str, Any]) -> dict[str, Any]:
    host, port = order["target"]
    with socket.create_connection(order["proxy"], timeout=10) as tunnel:
        tunnel.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        return {"status": tunnel.recv(4096).decode().partition("\r\n")[0]}


def speak(order: dict[str, Any]) -> dict[str, Any]:
    """Sends messages over a WebSocket and returns the responses up to the one that contains ``until``."""
    host, port = order["target"]
    plain = socket.create_connection(order["proxy"], timeout=10)
    plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    plain.recv(4096)
    with context().wrap_socket(plain, server_hostname=host) as secure:
        headers = "".join(f"{name}: {value}\r\n" for name, value in order.get("headers", {}).items())
        secure.sendall(
            f"GET {order['path']} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )
        seen = secure.recv(65536)
        for message in order["socket"]:
            secure.sendall(frame(json.dumps(message).encode()))
        while order["until"].encode() not in seen and (more := secure.recv(65536)):
            seen += more
    return {"status": seen.partition(b"\r\n")[0].decode(), "body": seen.decode("utf-8", "replace")}


def frame(data: bytes) -> bytes:
    mask = os.urandom(4)
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile="/client/ca.pem")


if __name__ == "__main__":
    asked = json.loads(base64.b64decode(sys.argv[1]))
    todo = connect if asked.get("connect") else speak if "socket" in asked else call
    try:
        print(json.dumps(todo(asked)))
    except OSError as error:
        print(json.dumps({"status": None, "error": f"{type(error).__name__}: {error}"}))
