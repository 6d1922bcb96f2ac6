"""A simulated internet: one HTTPS server on this machine with an LLM's API that answers in the documented forms.

The path selects the answer: ``/v1/chat/completions``, ``/v1/messages``, ``/broken/...``, ``/slow/...``.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
# Between the pieces of a slow stream, in seconds.
GAP = 1.0


def chat_stream(words: list[str]) -> list[bytes]:
    """An OpenAI chat completion's events, one word each, with the usage at its end."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test-1"}

    def event(**more: Any) -> bytes:
        return b"data: " + json.dumps(common | more).encode() + b"\n\n"

    def delta(content: dict[str, Any], reason: str | None = None) -> bytes:
        return event(choices=[{"index": 0, "delta": content, "finish_reason": reason}])

    usage = {"prompt_tokens": 9, "completion_tokens": len(words), "total_tokens": 9 + len(words)}
    return [
        delta({"role": "assistant", "content": ""}),
        *(delta({"content": word}) for word in words),
        delta({}, "stop"),
        event(choices=[], usage=usage),
        b"data: [DONE]\n\n",
    ]


def message_stream() -> list[bytes]:
    """An Anthropic message that thinks, speaks and calls a tool."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-test-1"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start | {"usage": {"input_tokens": 25, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I look it "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "up."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"path": '}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"a.py"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 15}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._websocket()
        else:
            self._whole(b"hello\n", "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if "/broken/" in path:
            self._whole(b'{"choices": [{"message": {"content": "bro', "application/json")
        elif "/endless/" in path:
            self._stream(chat_stream([f"word{number} " for number in range(1000)]), GAP)
        elif "/slow/" in path:
            self._stream(chat_stream(["slow ", "but ", "sure"]), GAP)
        elif path.endswith("/chat/completions"):
            self._stream(chat_stream(["Hello", " there"]), 0)
        elif path.endswith("/messages"):
            self._stream(message_stream(), 0)
        else:
            self._whole(body, "application/octet-stream")

    def _whole(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, pieces: list[bytes], gap: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
            time.sleep(gap)
        self.wfile.write(b"0\r\n\r\n")

    def _websocket(self) -> None:
        """A realtime session: one answer for each ``response.create``."""
        key = self.headers["Sec-WebSocket-Key"] + _WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 - as RFC 6455 has it
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self._frame({"type": "session.created", "session": {"model": "gpt-realtime-test"}})
        while (text := self._read_frame()) is not None:
            if json.loads(text).get("type") != "response.create":
                continue
            self._frame({"type": "response.created", "response": {"id": "resp_1"}})
            self._frame({"type": "response.output_text.delta", "item_id": "item_1", "delta": "over "})
            self._frame({"type": "response.output_text.delta", "item_id": "item_1", "delta": "a socket"})
            done = {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4}}
            self._frame({"type": "response.done", "response": done})
        self.close_connection = True

    def _frame(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode()
        head = bytes([0x81, len(data)]) if len(data) < 126 else b"\x81\x7e" + len(data).to_bytes(2, "big")
        self.wfile.write(head + data)
        self.wfile.flush()

    def _read_frame(self) -> bytes | None:
        head = self.rfile.read(2)
        if len(head) < 2 or head[0] & 0x0F == 8:
            return None
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self.rfile.read(2), "big")
        mask = self.rfile.read(4)
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.rfile.read(length)))

    def log_message(self, format: str, *arguments: object) -> None:
        self.server.seen.append(self.path)


class Upstream(ThreadingHTTPServer):
    """Listens on ``address`` and a free port, with a certificate for ``names`` by the authority in ``folder``."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: str, names: list[str], folder: Path) -> None:
        super().__init__((address, 0), _Handler)
        self.seen: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(make_certificate(names, folder))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that go away are what some of the tests are about."""


def make_certificate(names: list[str], folder: Path) -> Path:
    """Makes ``ca.pem``, and ``server.pem`` with chain and key, whose path it returns; what is there is kept."""
    server = folder / "server.pem"
    if server.exists():
        return server
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])

    def builder(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = (
        builder(issuer, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server.write_bytes(leaf.public_bytes(pem) + authority.public_bytes(pem) + private)
    return server


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


if __name__ == "__main__":
    make_certificate(sys.argv[2].split(","), Path(sys.argv[1]))
