"""A git server for unit tests: answers on a Unix socket with a test's responses."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atelier.common.models import GitServer

TOKEN, PASSWORD = "token-canary-0123456789", "password-canary-0123456789"
# Status, body (JSON unless it is bytes), headers.
Reply = tuple[int, Any, dict[str, str]]


@contextmanager
def forge_server(folder: Path, reply: Callable[[str, str, Any], Reply | None]) -> Iterator[tuple[GitServer, list[str]]]:
    """Serves ``reply(method, path, body)`` until the block ends; None closes the connection without an answer. Gives
    the server as Atelier's site has it, and the list of requests so far."""
    git = GitServer("forgejo", "developer", folder / "s", folder / "credentials.json", 3000, "http://localhost/git")
    git.credentials.write_text(json.dumps({"user": "atelier-service", "password": PASSWORD, "token": TOKEN}))
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            self.close_connection = True
            if not self.raw_requestline or not self.parse_request():
                return
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            seen.append(f"{self.command} {self.path} {self.headers['Authorization'].split()[0]}")
            answer = reply(self.command, self.path, body)
            if answer is None:
                return
            status, content, headers = answer
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            lines = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
            head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{key}: {value}\r\n" for key, value in lines.items())
            self.wfile.write(head.encode() + b"\r\n" + data)

        def address_string(self) -> str:
            return "unix"

    git.socket.unlink(missing_ok=True)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that gave up: its own words are what is tested."""

    with Server(str(git.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield git, seen
        finally:
            server.shutdown()
            thread.join()
