"""A foreign git server: real repositories behind git's own CGI, at an address that seats can reach."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, TOKEN = "ann", "canary-p@ss/w:rd"
_CGI = "/usr/lib/git-core/git-http-backend"


def make_repository(folder: Path, name: str, files: dict[str, str]) -> None:
    """A bare repository with one commit of these files."""
    work = folder / f"{name}.work"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)

    git("init", "--quiet", "--initial-branch=main", str(work))
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    git("-C", str(work), "add", "--all")
    git("-C", str(work), "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "--message=Start")
    git("clone", "--quiet", "--bare", str(work), str(folder / f"{name}.git"))


class _Handler(BaseHTTPRequestHandler):
    """``/open/...`` for everybody, ``/closed/...`` for USER, ``/hangs/...`` never answers, ``/echo/...`` refuses and
    returns its arguments, ``/html/...`` is no git server at all."""

    folder: Path
    released: threading.Event
    seen: list[str]

    def do_GET(self) -> None:
        area, _, rest = self.path.lstrip("/").partition("/")
        told = self.headers.get("Authorization", "")
        self.seen.append(f"{self.path} {told}")
        if area == "hangs":
            self.released.wait(60)
        elif area == "html":
            self._answer(200, b"<html>Welcome</html>", "text/html")
        elif area == "echo" and told:
            self._answer(403, f"You said {told} and {base64.b64decode(told[6:]).decode()}".encode(), "text/plain")
        elif area != "open" and told != f"Basic {base64.b64encode(f'{USER}:{TOKEN}'.encode()).decode()}":
            self._answer(401, b"", "text/plain", **{"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._git(rest)

    do_POST = do_GET

    def _git(self, rest: str) -> None:
        path, _, query = rest.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        environment = {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{path}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        output = subprocess.run([_CGI], input=body, capture_output=True, env=environment, check=False).stdout
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200").split()[0])
        self._answer(status, content, headers.pop("Content-Type", "text/plain"))

    def _answer(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing: the requests are in ``seen``."""


@contextmanager
def git_host(folder: Path, address: str) -> Iterator[tuple[str, list[str]]]:
    """Serves the folder's repositories; yields the address and, as they come, the requests."""
    seen: list[str] = []
    released = threading.Event()
    handler = type("Handler", (_Handler,), {"folder": folder, "released": released, "seen": seen})
    with ThreadingHTTPServer((address, 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_port}", seen
        finally:
            released.set()
            server.shutdown()
