"""HTTP requests to a seat, answered by invalid or hostile servers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from atelier.common.models import IDE_PORT, Site
from atelier.containers.container import answers_in_time, is_healthy
from atelier.containers.seat_http import ask
from atelier.workshop.probe import probe
from support import site

import api.monitoring.seat_activity

Say = Callable[[socket.socket], None]
# One for each process: other runs of these tests on the same machine have the same port.
ADDRESS = ".".join(map(str, (127, 1 + os.getpid() // 65536 % 254, os.getpid() // 256 % 256, 1 + os.getpid() % 254)))


@pytest.fixture
def serve() -> Iterator[Callable[[Say], None]]:
    """A server in place of an IDE, at ADDRESS."""
    server = socket.create_server((ADDRESS, IDE_PORT))

    def run(say: Say) -> None:
        def loop() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with closing(connection), suppress(OSError):
                connection.recv(65536)
                say(connection)

        threading.Thread(target=loop, daemon=True).start()

    yield run
    # Not only closed: accept() goes on with a closed socket.
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def says(data: bytes) -> Say:
    return lambda connection: connection.sendall(data)


def drips(head: bytes, drop: bytes) -> Say:
    def run(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.1)

    return run


def without_end(data: bytes) -> Say:
    def run(connection: socket.socket) -> None:
        while True:
            connection.sendall(data)

    return run


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def ok(body: bytes) -> bytes:
    return OK % (len(body), body)


HOSTILE: dict[str, Say] = {
    "nothing": says(b""),
    "silence": lambda connection: time.sleep(20),
    "a dripping head": drips(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "a dripping status": drips(b"", b"H"),
    "headers without end": without_end(b"x: " + b"y" * 65536 + b"\r\n"),
    "a body without end": without_end(b"HTTP/1.1 200 OK\r\n\r\n" + b"0" * 65536),
    "a dripping body": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
    "brackets": says(ok(b"[" * 3000)),
    "more brackets": says(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 60000),
    "a list": says(ok(b"[]")),
    "a huge number": says(ok(b'{"lastHeartbeat": 1' + b"0" * 3000 + b"}")),
    "no number": says(ok(b'{"lastHeartbeat": NaN}')),
    "infinity": says(ok(b'{"lastHeartbeat": Infinity}')),
    "an object": says(ok(b'{"lastHeartbeat": {"a": []}}')),
    "bytes": says(ok(b"\xff\xfe{")),
    "another length": says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "a longer length": says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}"),
    "chunks that are none": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a redirect": says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"),
    "another status": says(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "no HTTP": says(b"\x00" * 5000 + b"\r\n\r\n"),
    "continue without end": without_end(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("say", HOSTILE.values(), ids=HOSTILE)
def test_any_answer_ends_in_time_and_says_nothing(serve: Callable[[Say], None], say: Say) -> None:
    serve(say)
    begin = time.monotonic()
    assert api.monitoring.seat_activity.heartbeat(ADDRESS) is None
    assert time.monotonic() - begin < 10


def test_an_honest_answer(serve: Callable[[Say], None]) -> None:
    serve(says(ok(b'{"status":"alive","lastHeartbeat":1700000000000}')))
    beat = api.monitoring.seat_activity.heartbeat(ADDRESS)
    assert beat is not None
    assert beat.isoformat() == "2023-11-14T22:13:20+00:00"
    assert is_healthy(ADDRESS)


def test_waiting_for_an_ide_ends_with_its_time(serve: Callable[[Say], None]) -> None:
    serve(HOSTILE["a dripping head"])
    begin = time.monotonic()
    assert not answers_in_time(ADDRESS, 1, lambda: True)
    assert time.monotonic() - begin < 10


def test_what_is_no_path_is_not_asked_for() -> None:
    for path in ("", "x", "/a b", "/a\r\nHost: b", "/\u00e9"):
        with pytest.raises(ConnectionError):
            ask(("127.0.0.1", 9), path, seconds=1, limit=100)


@pytest.mark.parametrize(
    "say",
    [
        *(HOSTILE[name] for name in ("silence", "a dripping head", "headers without end", "continue without end")),
        says(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"),
        says(b"HTTP/1.1 302 Found\r\nLocation: /a\nHost: b\r\n\r\n"),
        says(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"),
    ],
)
def test_a_visit_ends_in_time_with_a_fault(
    serve: Callable[[Say], None], say: Say, monkeypatch: pytest.MonkeyPatch, here: Site
) -> None:
    serve(say)
    monkeypatch.setattr("atelier.workshop.probe._GATEWAY", ADDRESS)
    seconds, fault = probe(here, "0123456789ab", 1)
    assert fault
    assert seconds < 5


@pytest.fixture
def here(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site(tmp_path_factory.mktemp("site"), port=IDE_PORT)
