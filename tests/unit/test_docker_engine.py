"""What the engine's adapter asks Docker for, as a stand-in of Docker hears it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from atelier.docker_engine import DockerEngine

LOST = (
    "OCI runtime exec failed: exec failed: unable to start container process: waiting for init preliminary setup:"
    " read init-p: connection reset by peer: unknown\r\n"
)


class Docker(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Accept-Encoding")))
        body = json.dumps({"ApiVersion": "1.45"}).encode() if self.path.endswith("/version") else b"archive"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def docker() -> Iterator[tuple[DockerEngine, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Docker,), {"asked": asked})) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield DockerEngine(f"tcp://127.0.0.1:{server.server_port}"), asked
        server.shutdown()


def test_archives_are_asked_for_as_they_are(docker: tuple[DockerEngine, list[tuple[str, str | None]]]) -> None:
    """Docker would compress them, which takes ten times as long as reading them."""
    engine, asked = docker
    assert b"".join(engine.stream("seat", "/workspace")) == b"archive"
    assert asked[-1] == ("/v1.45/containers/seat/archive?path=%2Fworkspace", "identity")


class Commands:
    """The SDK's part that runs commands: each ends with the next of these codes and outputs."""

    def __init__(self, *ends: tuple[int, str]) -> None:
        self._ends = iter(ends)
        self.begun = 0

    def exec_create(self, container: str, command: list[str], user: str) -> dict[str, str]:
        self.begun += 1
        self._end = next(self._ends)
        return {"Id": "command"}

    def exec_start(self, command: str) -> bytes:
        return self._end[1].encode()

    def exec_inspect(self, command: str) -> dict[str, int]:
        return {"ExitCode": self._end[0]}


@pytest.mark.parametrize(
    ("ends", "begun"),
    [
        (((126, LOST), (0, "done")), 2),
        # Once is chance, twice is not.
        (((126, LOST), (126, LOST), (0, "done")), 2),
        # What did begin is never repeated, whatever it prints; nor what can't begin.
        (((1, LOST), (0, "done")), 1),
        (((126, LOST.replace("waiting for init preliminary setup", "stat /nope")), (0, "done")), 1),
    ],
)
def test_a_command_that_runc_lost_is_begun_once_more(
    docker: tuple[DockerEngine, list[tuple[str, str | None]]],
    ends: tuple[tuple[int, str], ...],
    begun: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (engine, _), commands = docker, Commands(*ends)
    monkeypatch.setattr(engine, "_api", commands)
    assert engine.execute("seat", ["true"]) == ends[begun - 1]
    assert commands.begun == begun
