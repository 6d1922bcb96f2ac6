"""Sockets with a deadline."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from atelier.common.bounded_socket import connect, receive


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_socket_that_can_not_connect_is_closed_at_once(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError) as error:
        connect(str(tmp_path / "nobody.sock"), 1.0)
    # While the traceback lives, so does everything in its frames.
    assert open_files() == before
    assert error.traceback


def test_pieces_that_come_in_time_do_not_move_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        deadline = time.monotonic() + 0.2
        theirs.sendall(b"a")
        assert receive(ours, deadline) == b"a"
        with pytest.raises(TimeoutError):
            receive(ours, deadline)
        assert time.monotonic() - deadline < 10
