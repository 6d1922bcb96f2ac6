"""The platform's own git server for tests: the embedded service and the gateway before it, made by their roles."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atelier.common.errors import AtelierError
from atelier.common.models import GitServer
from atelier.git.client import Forge, read_credentials

from tests.module.installation import Installation
from tests.waiting import eventually

PORT, GIT_PORT = 18482, 18483
OWNER = "developer"


def run_git_server(site: Installation) -> None:
    """Makes service and gateway of an installation whose variables turn the git server on."""
    playbook = site.folder / "git.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "roles": ["git_service", "gateway"]}]))
    site.play(playbook).succeeded()


def git_server(site: Installation) -> GitServer:
    return GitServer(
        service="embedded",
        owner=OWNER,
        socket=site.state / "gateway" / "git" / "http.sock",
        credentials=site.state / "git" / "credentials.json",
        seat_port=GIT_PORT,
        base_url=f"http://localhost:{PORT}/git",
    )


def forge(site: Installation) -> Forge:
    git = git_server(site)
    return Forge(git, read_credentials(git))


def service(site: Installation, name: str) -> Any:
    return site.docker.containers.get(f"{site.name}-{name}")


@contextmanager
def stopped(site: Installation, name: str) -> Iterator[None]:
    """``git`` or ``gateway`` is down for the block."""
    container = service(site, name)
    container.stop(timeout=1)
    try:
        yield
    finally:
        container.start()
        if name == "git":
            eventually(lambda: answers(forge(site)), "the git server to answer")
        else:
            eventually(lambda: _gateway_answers(site), "the gateway to answer")


def answers(found: Forge) -> bool:
    """Whether it is up."""
    try:
        return bool(found.version())
    except AtelierError:
        return False


def _gateway_answers(site: Installation) -> bool:
    seats = [row for row in site.rows() if row["status"] == "running"]
    url = f"http://git.internal:{GIT_PORT}/git/"
    script = ["curl", "--silent", "--output", "/dev/null", "--max-time", "5", url]
    return all(site.container(seat).exec_run(script).exit_code == 0 for seat in seats[:1])


@contextmanager
def impostor(site: Installation, *, status: int = 200, body: bytes = b"", delay: float = 0) -> Iterator[None]:
    """Something else answers where the git server should, for the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

        def address_string(self) -> str:
            return "a socket has none"

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    socket = Path(git_server(site).socket)
    with stopped(site, "git"):
        socket.unlink(missing_ok=True)
        with socketserver.ThreadingUnixStreamServer(str(socket), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()
                socket.unlink(missing_ok=True)
