"""Runs the platform's programs inside a container, with Docker's exec API.

The container's user may stop them, keep their output open, write endlessly into it, or block Docker's answer. So a run
has a deadline and an output limit, independent of the container. The SDK's reader has neither.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import requests
from docker.errors import APIError

from ..common.bounded_socket import read_head, receive, seconds_left
from ..common.errors import AtelierError, Code
from ..common.messages import Message
from .parsing import exec_failed_to_start

# The platform's own, in place of the container's: there the first entry is a folder of the seat's user.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A template may leave /usr/local to the seat's user.
_ROOT_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Variables that make a program run or read other files. A name without value means "not set" for Docker.
_UNSET = ("BASH_ENV", "ENV", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "GIT_DIR", "GIT_WORK_TREE")
# Docker's answers about a run, which take some milliseconds, unless it does not come to it.
_ANSWER_SECONDS = 20.0
_SHORTEST_ANSWER = 1.0
_POLL_SECONDS = 0.02
_CHUNK = 65536
_LONGEST_HEAD = 16384
_FRAME = struct.Struct(">BxxxL")
_MARK = "ATELIER_RUN"
# Kills the remaining processes of a run, identified by its mark in their environment. This runs as the seat's user, who
# may prevent it; so Docker is asked for leftovers before the next run in a container that exceeded a limit.
_END = (
    'for found in $(grep --files-with-matches --null-data --line-regexp --fixed-strings "$1" /proc/[0-9]*/environ'
    ' 2>/dev/null); do found=${found#/proc/}; kill -KILL "${found%%/*}" 2>/dev/null; done'
)
_END_SECONDS = 2.0
_MOST_LEFT = 8
_held_up: set[str] = set()


class _Beyond(Exception):
    """A run met a limit: ``seconds`` or ``bytes``."""

    def __init__(self, limit: str, most: float) -> None:
        self.limit, self.most = limit, most
        super().__init__(limit)


@dataclass(frozen=True)
class Program:
    """A program in a container. ``connect`` opens a connection to Docker within some seconds; ``request`` asks Docker:
    method, path, then as requests has it. ``command`` begins with an absolute path. ``user`` is the container's own
    when empty. ``seconds`` is for all of the run, ``limit`` is how many bytes it may print."""

    connect: Callable[[float], socket.socket]
    request: Callable[..., requests.Response]
    version: str
    container: str
    command: Sequence[str]
    user: str
    seconds: float
    limit: int

    def run(self) -> tuple[int, str]:
        """Returns exit code and output (both streams). Raises ENGINE_ERROR if the program exceeds its limits, and the
        errors of the SDK and of sockets."""
        name, container = self.command[0], self.container
        if not name.startswith("/"):
            raise ValueError(f"{name} is no absolute path")
        self._refuse_more()
        mark = secrets.token_hex(8)
        deadline = time.monotonic() + self.seconds
        try:
            code, output = self._ended(mark, deadline)
            # Nothing was done, so a retry is safe.
            return self._ended(mark, deadline) if exec_failed_to_start(code, output) else (code, output)
        except _Beyond as beyond:
            _held_up.add(container)
            self._end(mark)
            why = Message(f"docker.run_{beyond.limit}", name=name, container=container, most=beyond.most)
            remedy = Message("docker.held_up")
            limit = beyond.limit
            raise AtelierError(Code.ENGINE_ERROR, why, remedy=remedy, container=container, limit=limit) from None

    def _ended(self, mark: str, deadline: float) -> tuple[int, str]:
        path = _ROOT_PATH if self.user in ("root", "0") else _PATH
        order = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": list(self.command),
            "Env": [f"PATH={path}", "LC_ALL=C.UTF-8", "GIT_TERMINAL_PROMPT=0", f"{_MARK}={mark}", *_UNSET],
            "User": self.user,
            # The image's working folder belongs to the seat's user, who may have removed it.
            "WorkingDir": "/",
        }
        try:
            id = self._asked("POST", f"containers/{self.container}/exec", deadline, json=order)["Id"]
            output = bytearray()
            for chunk in self._output(id, deadline):
                output += chunk
                if len(output) > self.limit:
                    raise _Beyond("bytes", self.limit)
            while True:
                # It may have closed its output but still run.
                state = self._asked("GET", f"exec/{id}/json", deadline)
                if not state["Running"] and state["ExitCode"] is not None:
                    return int(state["ExitCode"]), output.decode(errors="replace")
                time.sleep(min(_POLL_SECONDS, seconds_left(deadline)))
        except (TimeoutError, requests.exceptions.Timeout) as error:
            raise _Beyond("seconds", self.seconds) from error

    def _asked(self, method: str, path: str, deadline: float, **arguments: Any) -> Mapping[str, Any]:
        patience = max(min(seconds_left(deadline), _ANSWER_SECONDS), _SHORTEST_ANSWER)
        with closing(self.request(method, path, timeout=patience, **arguments)) as answer:
            found: Mapping[str, Any] = answer.json()
            return found

    def _output(self, id: str, deadline: float) -> Iterator[bytes]:
        """Yields the output as it arrives. Docker sends it in frames, each after eight bytes with the length."""
        body = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST /v{self.version}/exec/{id}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        with closing(self.connect(min(seconds_left(deadline), _ANSWER_SECONDS))) as connection:
            connection.sendall(head.encode() + body)
            rest = _begun(connection, deadline)
            while True:
                while len(rest) >= _FRAME.size:
                    length = _FRAME.unpack_from(rest)[1]
                    if len(rest) < _FRAME.size + length:
                        break
                    yield bytes(rest[_FRAME.size : _FRAME.size + length])
                    del rest[: _FRAME.size + length]
                chunk = receive(connection, deadline)
                if not chunk:
                    return
                rest += chunk

    def _refuse_more(self) -> None:
        """Raises ENGINE_ERROR if too many abandoned runs in the container still run."""
        container = self.container
        if container not in _held_up:
            return
        deadline = time.monotonic() + _ANSWER_SECONDS
        left = self._asked("GET", f"containers/{container}/json", deadline).get("ExecIDs") or ()
        if len(left) >= _MOST_LEFT:
            why = Message("docker.programs_left", container=container, count=len(left))
            raise AtelierError(Code.ENGINE_ERROR, why, container=container, limit="programs")
        if not left:
            _held_up.discard(container)

    def _end(self, mark: str) -> None:
        order = ("/bin/sh", "-c", _END, "end", f"{_MARK}={mark}")
        last = replace(self, command=order, seconds=_END_SECONDS, limit=_CHUNK)
        with suppress(_Beyond, APIError, requests.exceptions.RequestException, OSError):
            last._ended("end", time.monotonic() + last.seconds)


def _begun(connection: socket.socket, deadline: float) -> bytearray:
    """Reads the head of Docker's response; returns the bytes after it. Raises the SDK's error for a refusal, with
    Docker's reason: its answer is one JSON object then."""
    head, body = read_head(connection, deadline, _LONGEST_HEAD)
    if head.split(b" ", 2)[1:2] in ([b"101"], [b"200"]):
        return bytearray(body)
    reason: str = Message("docker.run_refused")
    with suppress(TimeoutError):
        while len(body) < _LONGEST_HEAD:
            with suppress(ValueError):
                reason = str(json.loads(body)["message"])
                break
            chunk = receive(connection, deadline)
            if not chunk:
                break
            body += chunk
    raise APIError(reason, explanation=reason)
