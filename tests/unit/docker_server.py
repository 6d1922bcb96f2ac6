"""A simulated Docker for unit tests, on a port of this machine."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """The part of a request that all simulated Dockers share; each adds its own answers."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        """Sends the content, as JSON unless it is bytes."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def docker_server(handler: type[Handler], tls: ssl.SSLContext | None = None, **values: object) -> Iterator[str]:
    """Serves until the block ends. Gives the host and port; the handlers have the ``values`` as attributes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), values)) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
