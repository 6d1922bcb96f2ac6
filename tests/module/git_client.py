"""A real git client for tests: its own configuration, and a way to the git service's Unix socket."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def relay(path: Path) -> Iterator[str]:
    """A port of this machine that leads to the Unix socket, as the gateway does; gives ``127.0.0.1:<port>``."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as inner:
                inner.connect(str(path))
                back = threading.Thread(target=_pass_on, args=(inner, self.request), daemon=True)
                back.start()
                _pass_on(self.request, inner)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: object, client_address: object) -> None:
            """The service is away: git says so."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def git(folder: Path, *words: str, fails: bool = False, **environment: str) -> str:
    """Runs git; returns its standard and error output. Asserts that it succeeds, or that it ``fails``."""
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_NAME": "Somebody" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "somebody@example.org" for who in ("AUTHOR", "COMMITTER")},
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode != 0) is fails, f"git {' '.join(words)}\n{done.stdout}"
    return done.stdout.strip()


def commit(folder: Path, name: str, content: bytes | str) -> str:
    """Writes a file and commits it; returns the commit."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    git(folder, "add", "--", name)
    git(folder, "commit", "--quiet", "--message", name)
    return git(folder, "rev-parse", "HEAD")


def new_repository(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
