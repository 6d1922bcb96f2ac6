"""Programs in a container, as a stand-in of Docker runs them: late, without end, or not at all."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.engine.client import Engine
from docker_server import Handler, docker_server

LOST = (
    "OCI runtime exec failed: exec failed: unable to start container process: waiting for init preliminary setup:"
    " read init-p: connection reset by peer: unknown\r\n"
)
Said = Callable[["Docker"], None]


def frame(data: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


class Docker(Handler):
    """Each run says what the next of ``runs`` does, and ends with its code."""

    protocol_version = "HTTP/1.1"
    runs: list[tuple[int | None, Said]]
    orders: list[dict[str, Any]]
    left: list[str]

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self.answer({"ApiVersion": "1.45"})
        elif "/containers/" in self.path:
            self.answer({"ExecIDs": self.left})
        else:
            code = self.runs[int(self.path.split("/")[-2])][0]
            self.answer({"Running": code is None, "ExitCode": code})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/start"):
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            self.runs[int(self.path.split("/")[-2])][1](self)
            self.close_connection = True
            return
        if len(self.orders) == len(self.runs):
            self.answer({"message": "container seat is paused"}, 409)
            return
        self.orders.append(order)
        self.answer({"Id": str(len(self.orders) - 1)}, 201)


@pytest.fixture
def docker() -> Iterator[tuple[Engine, type[Docker]]]:
    handler = type("Handler", (Docker,), {"runs": [], "orders": [], "left": []})
    with docker_server(handler) as server:
        yield Engine(f"tcp://{server}"), handler


def says(*pieces: bytes) -> Said:
    def run(docker: Docker) -> None:
        for piece in pieces:
            docker.wfile.write(piece)

    return run


def without_end(docker: Docker) -> None:
    try:
        while True:
            docker.wfile.write(frame(b"0" * 32768))
    except OSError:
        return


def dripping(docker: Docker) -> None:
    try:
        for _ in range(200):
            docker.wfile.write(frame(b"."))
            time.sleep(0.05)
    except OSError:
        return


def silent(docker: Docker) -> None:
    time.sleep(15)


def refused(engine: Engine, **limits: Any) -> AtelierError:
    begin = time.monotonic()
    with pytest.raises(AtelierError) as error:
        engine.execute("seat", ["/bin/true"], **{"seconds": 0.5, **limits})
    assert time.monotonic() - begin < 8
    assert error.value.code is Code.ENGINE_ERROR
    assert "seat" in error.value.message
    return error.value


def test_both_streams_in_pieces_of_any_size(docker: tuple[Engine, type[Docker]]) -> None:
    engine, server = docker
    whole = frame(b"out ") + frame(b"err\xff", 2) + frame(b"")
    server.runs.append((3, says(*(whole[index : index + 1] for index in range(len(whole))))))
    assert engine.execute("seat", ["/bin/true", "a"], seconds=5, user="root") == (3, "out err\ufffd")
    order = server.orders[0]
    assert (order["Cmd"], order["User"], order["WorkingDir"]) == (["/bin/true", "a"], "root", "/")
    assert "PATH=/usr/sbin:/usr/bin:/sbin:/bin" in order["Env"]
    assert {"BASH_ENV", "ENV", "LD_PRELOAD", "GIT_DIR"} < set(order["Env"])


def test_a_program_without_a_path_is_refused(docker: tuple[Engine, type[Docker]]) -> None:
    with pytest.raises(ValueError, match="absolute"):
        docker[0].execute("seat", ["true"], seconds=1)


@pytest.mark.parametrize(
    ("code", "run", "limit"),
    [
        (0, without_end, "bytes"),
        (0, dripping, "seconds"),
        (0, silent, "seconds"),
        # Its output has ended, it has not.
        (None, says(frame(b"done")), "seconds"),
    ],
)
def test_no_run_goes_beyond_its_limits(
    docker: tuple[Engine, type[Docker]], code: int | None, run: Said, limit: str
) -> None:
    engine, server = docker
    server.runs += [(code, run), (0, says())]
    error = refused(engine, limit=100_000)
    assert error.details["limit"] == limit
    # What is left of it is ended by its mark, as the same user.
    mark = next(name for name in server.orders[0]["Env"] if name.startswith("ATELIER_RUN="))
    assert server.orders[1]["Cmd"][-1] == mark
    assert server.orders[1]["User"] == ""


def test_a_container_in_which_many_runs_are_left_gets_no_more(docker: tuple[Engine, type[Docker]]) -> None:
    engine, server = docker
    server.runs += [(0, silent), (0, says())]
    refused(engine)
    server.left += [str(number) for number in range(8)]
    assert refused(engine).details["limit"] == "programs"
    assert len(server.orders) == 2
    server.left.clear()
    server.runs.append((0, says()))
    assert engine.execute("seat", ["/bin/true"], seconds=1) == (0, "")


def test_what_docker_refuses(docker: tuple[Engine, type[Docker]]) -> None:
    assert "is paused" in refused(docker[0]).message


def test_docker_that_goes_away_in_the_middle(docker: tuple[Engine, type[Docker]]) -> None:
    engine, server = docker

    def dies(docker: Docker) -> None:
        docker.connection.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: the connection is reset
        docker.connection.close()

    server.runs.append((0, dies))
    with pytest.raises(AtelierError) as error:
        engine.execute("seat", ["/bin/true"], seconds=5)
    assert error.value.code is Code.SERVICE_UNAVAILABLE


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
    docker: tuple[Engine, type[Docker]], ends: tuple[tuple[int, str], ...], begun: int
) -> None:
    engine, server = docker
    server.runs += [(code, says(frame(text.encode()))) for code, text in ends]
    assert engine.execute("seat", ["/bin/true"], seconds=5) == ends[begun - 1]
    assert len(server.orders) == begun
