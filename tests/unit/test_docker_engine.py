"""What the engine's adapter asks Docker for, as a stand-in of Docker hears it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from atelier.engine.client import DockerEngine
from atelier.engine.interface import ContainerStats
from atelier.engine.parsing import stats_from


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
    assert b"".join(engine.stream("seat", "/workspace", 5)) == b"archive"
    assert asked[-1] == ("/v1.45/containers/seat/archive?path=%2Fworkspace", "identity")


def test_a_name_that_is_no_text_is_asked_for_as_it_is(
    docker: tuple[DockerEngine, list[tuple[str, str | None]]],
) -> None:
    """As ``tarfile`` gives such names."""
    engine, asked = docker
    list(engine.stream("seat", b"/home/\xff\n".decode(errors="surrogateescape"), 5))
    assert asked[-1][0].endswith("/archive?path=%2Fhome%2F%FF%0A")


def test_stats_of_both_versions_of_control_groups() -> None:
    operations = [{"op": "Read", "value": 5}, {"op": "Write", "value": 7}, {"op": "write", "value": 1}]
    first = {
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {
            "usage": 100,
            "stats": {"total_inactive_file": 40, "total_dirty": 1, "total_writeback": 2, "dirty": 9},
        },
        "blkio_stats": {"io_service_bytes_recursive": operations},
    }
    second = {
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {"usage": 50, "stats": {"inactive_file": 60, "file_dirty": 3, "file_writeback": 4}},
        "blkio_stats": {"io_service_bytes_recursive": None},
    }
    assert stats_from(first) == ContainerStats(2.5, 60, 3, 8)
    assert stats_from(second) == ContainerStats(0.0, 0, 7, 0)
    assert stats_from({"name": "", "id": ""}) is None
