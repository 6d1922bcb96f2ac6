"""Clones and pushes: git http-backend(1), streamed both ways, a bounded number of them at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .git import cgi_environment
from .settings import Settings

log = logging.getLogger("atelier_git")

SERVICES = ("git-upload-pack", "git-receive-pack")
_CHUNK = 65536
_LONGEST_HEAD = 16384
_SHOWN_ERROR = 2000


class SmartHttp:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.max_processes)

    def answer(
        self,
        request: Request,
        folder: Path,
        path: str,
        variables: Mapping[str, str],
        hidden: list[str],
        ended: Callable[[], Awaitable[None]],
    ) -> Response:
        """The backend's answer for one repository, run when it is sent; ``ended`` is called after it.

        ``path`` is info/refs or a service, ``hidden`` are hideRefs' values. Raises HTTPException 413 for a push that is
        too large by its own word.
        """
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_push_bytes:
            raise _too_large(self._settings)
        cgi = {
            **variables,
            "PATH_INFO": f"/{folder.name}/{path}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.url.query,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            # The backend unpacks it as it comes. Told no length, it reads until the end.
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        }
        limit = ("receive.maxInputSize", str(self._settings.max_push_bytes))
        environment = cgi_environment(folder, cgi, [limit, *(("transfer.hideRefs", value) for value in hidden)])
        return _Answer(self._settings, self._places, environment, ended)


class _Answer(Response):
    """Not one of Starlette's streams: those read the request's body in search of its end, and git answers before."""

    def __init__(
        self,
        settings: Settings,
        places: asyncio.Semaphore,
        environment: Mapping[str, str],
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._places = places
        self._environment = environment
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.wait_for(self._places.acquire(), self._settings.idle_seconds)
        except TimeoutError as error:
            raise HTTPException(503, "Too many clones and pushes are under way.", {"Retry-After": "5"}) from error
        try:
            await self._run(receive, send)
        finally:
            self._places.release()
            await self._ended()

    async def _run(self, receive: Receive, send: Send) -> None:
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            env=self._environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        feeder = asyncio.create_task(self._feed(receive, process))
        complaints = asyncio.create_task(_beginning(process.stderr))
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                await _pass_on(process, feeder, send)
        except TimeoutError as error:
            raise HTTPException(503, "This took too long.") from error
        finally:
            feeder.cancel()
            await _end(process)
            said = (await complaints).decode(errors="replace").strip()
            if said:
                log.info("git: %s", said.replace("\n", " | "))

    async def _feed(self, receive: Receive, process: Process) -> None:
        """Hands the body over as it comes, then watches for the sender's going. One that goes, stops half-way or sends
        too much ends the backend."""
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        received, more = 0, True
        try:
            while more:
                async with asyncio.timeout(self._settings.idle_seconds):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionAbortedError
                chunk, more = message.get("body", b""), message.get("more_body", False)
                received += len(chunk)
                if received > self._settings.max_push_bytes:
                    raise _too_large(self._settings)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has read what it wanted
                    process.stdin.write(chunk)
                    await process.stdin.drain()
            process.stdin.close()
            while (await receive())["type"] != "http.disconnect":
                pass
            raise ConnectionAbortedError
        except (ConnectionAbortedError, TimeoutError, HTTPException):
            _kill(process)
            raise


async def _pass_on(process: Process, feeder: asyncio.Task[None], send: Send) -> None:
    """The CGI answer as HTTP. Raises HTTPException when there is none."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD and (chunk := await process.stdout.read(_CHUNK)):
        head += chunk
    lines, separator, body = head.partition(b"\r\n\r\n")
    if not separator:
        sender = feeder.exception() if feeder.done() and not feeder.cancelled() else None
        raise sender if isinstance(sender, HTTPException) else HTTPException(500, "git did not answer.")
    status, headers = 200, []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((name.strip().lower(), value.strip()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while body or (body := await process.stdout.read(_CHUNK)):
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
    # Also when git gave up: its own framing tells the other side, with its words.
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _end(process: Process) -> None:
    """Ends what is still running, all of it."""
    if process.returncode is None:
        _kill(process)
        await process.wait()


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _beginning(stream: asyncio.StreamReader | None) -> bytes:
    """Of what git complains of; the rest is read and dropped, so that it never waits for us."""
    kept = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept = (kept + chunk)[:_SHOWN_ERROR]
    return kept


def _too_large(settings: Settings) -> HTTPException:
    return HTTPException(413, f"A push may have {settings.max_push_bytes} bytes.")
