"""The installation on three machines: one that the files without ``VARIABLES`` share, or one of the file's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.waiting import eventually

from .installation import WORLD, Cluster, three_machines
from .machines import Machine

_ANSWERS = """
import http.server
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"model": "test", "choices": []}')
    do_POST = do_GET
http.server.ThreadingHTTPServer(("", 80), Answers).serve_forever()
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It has the six seats of its first `up` at the end of each file but the last."""
    with three_machines(tmp_path_factory.mktemp("three")) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """``VARIABLES`` of the file are set, too."""
    variables = getattr(request.module, "VARIABLES", None)
    if variables is None:
        yield request.getfixturevalue("shared")
    else:
        with three_machines(tmp_path_factory.mktemp("three"), **variables) as made:
            yield made


@pytest.fixture(scope="session")
def world(shared: Cluster) -> None:
    """A web server that answers every request, at the address of the allowed names. It goes with the machines."""
    shared.machines.serve(WORLD, _ANSWERS)
    eventually(_world_listens, "the world listens")


def _world_listens() -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((WORLD, 80)) == 0


@pytest.fixture
def alpha(cluster: Cluster) -> Machine:
    return cluster.machine("alpha")


@pytest.fixture
def beta(cluster: Cluster) -> Machine:
    return cluster.machine("beta")
