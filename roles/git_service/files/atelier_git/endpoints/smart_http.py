"""Clones and pushes: git http-backend(1), a bounded number of them at once.

Requests are first stored in a file, so that slow senders occupy no git process. git's answer is passed on as it
arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..repositories import git
from ..repositories.bounded import limited
from ..repositories.cleanup import Pushes
from ..settings import Settings
from .slots import Slots
from .space import FULL, check_room
from .spool import Spool

log = logging.getLogger("atelier_git")

SERVICES = ("git-upload-pack", "git-receive-pack")
_CHUNK = 65536
_LONGEST_HEAD = 16384
_SHOWN_ERROR = 2000
_LOOK_AT_ROOM = 16 * 1024**2
# Seconds for git to end after SIGTERM.
_ENDING_SECONDS = 3


class _Gone(Exception):
    """The client has disconnected."""


@dataclass(frozen=True)
class SmartHttp:
    """The parts that all answers share."""

    settings: Settings
    slots: Slots
    pushes: Pushes = field(default_factory=Pushes)

    def answer(
        self,
        request: Request,
        folder: Path,
        path: str,
        variables: Mapping[str, str],
        hidden: list[str],
        pushed: Callable[[], None],
        *,
        seat: str | None,
        pushes: bool,
    ) -> ASGIApp:
        """The backend's answer for one repository, run when it is sent; ``pushed`` is called in a thread after a push.

        ``path`` is info/refs or a service, ``hidden`` are hideRefs' values, ``seat`` is the user whose requests are
        limited. Raises HTTPException 413 for a push whose declared length is too large.
        """
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.max_push_bytes:
            raise _too_large(self.settings)
        limit = ("receive.maxInputSize", str(self.settings.max_push_bytes))
        # Not the client's Git-Protocol header: version 2 lets it fetch any object by its id, even a hidden one.
        environment = git.environment(
            [limit, *(("transfer.hideRefs", value) for value in hidden)],
            **variables,
            GIT_PROJECT_ROOT=str(folder.parent),
            GIT_HTTP_EXPORT_ALL="1",
            GATEWAY_INTERFACE="CGI/1.1",
            SERVER_PROTOCOL="HTTP/1.1",
            REMOTE_ADDR="127.0.0.1",
            PATH_INFO=f"/{folder.name}/{path}",
            REQUEST_METHOD=request.method,
            QUERY_STRING=request.url.query,
            CONTENT_TYPE=request.headers.get("content-type", ""),
            # The backend decompresses it. Without a length it reads until the end.
            HTTP_CONTENT_ENCODING=request.headers.get("content-encoding", ""),
        )
        return _Answer(self, folder, environment, seat, pushes, request.method == "POST", pushed)


@dataclass(frozen=True)
class _Answer:
    """Not one of Starlette's streaming responses: they read the request's body to its end, but git answers before."""

    smart: SmartHttp
    folder: Path
    environment: Mapping[str, str]
    seat: str | None
    pushes: bool
    has_body: bool
    pushed: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        slots, is_push = self.smart.slots, self.pushes and self.has_body
        with contextlib.suppress(_Gone):
            async with slots.of_seat(self.seat), self._body(receive) as body:
                try:
                    async with contextlib.AsyncExitStack() as place:
                        await place.enter_async_context(slots.of_git(pushes=self.pushes))
                        if is_push:
                            await place.enter_async_context(self.smart.pushes.on(self.folder))
                        await self._run(body, receive, send, place)
                finally:
                    if is_push:
                        await run_in_threadpool(self.pushed)

    @contextlib.asynccontextmanager
    async def _body(self, receive: Receive) -> AsyncIterator[FileIO | None]:
        """The request's body as a file without a name, which disappears with this process."""
        if not self.has_body:
            yield None
            return
        check_room(self.smart.settings.incoming)
        with tempfile.TemporaryFile(dir=self.smart.settings.incoming, buffering=0) as file:
            try:
                async with asyncio.timeout(self.smart.settings.request_seconds):
                    await self._read(receive, file)
            except TimeoutError as error:
                raise HTTPException(408, "It was not sent in time.") from error
            except OSError as error:
                log.error("A request can't be kept: %s", error)
                raise HTTPException(507, FULL) from error
            yield file

    async def _read(self, receive: Receive, file: FileIO) -> None:
        received, looked, more = 0, 0, True
        while more:
            async with asyncio.timeout(self.smart.settings.idle_seconds):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            received += len(chunk)
            if received > self.smart.settings.max_push_bytes:
                raise _too_large(self.smart.settings)
            if received - looked > _LOOK_AT_ROOM:
                looked = received
                check_room(self.smart.settings.incoming)
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        file.seek(0)

    async def _run(self, body: FileIO | None, receive: Receive, send: Send, place: contextlib.AsyncExitStack) -> None:
        """``place`` is given back when git has ended, however long the reader takes."""
        process = await asyncio.create_subprocess_exec(
            *limited(["git", "http-backend"], self.smart.settings.max_git_memory_bytes),
            env=self.environment,
            stdin=DEVNULL if body is None else body,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        spool = Spool(self.smart.settings.incoming)
        reading = asyncio.create_task(self._follow(process, receive, spool, place))
        try:
            async with asyncio.timeout(self.smart.settings.request_seconds):
                await self._pass_on(spool, send)
        except TimeoutError as error:
            raise HTTPException(503, "This took too long.") from error
        finally:
            await spool.abandon()
            await _end(process)
            await reading
            spool.close()

    async def _follow(self, process: Process, receive: Receive, spool: Spool, place: contextlib.AsyncExitStack) -> None:
        """Reads git's output until it has ended, and ensures that no process remains."""
        watcher = asyncio.create_task(_watch(receive, process))
        complaints = asyncio.create_task(_beginning(process.stderr))
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            while chunk := await process.stdout.read(_CHUNK):
                await spool.put(chunk)
            # Signal the end only now: git must have finished all its work.
            await process.wait()
        finally:
            watcher.cancel()
            await _end(process)
            if process.returncode != 0:
                self.smart.pushes.broke(self.folder)
            await place.aclose()
            await spool.end()
            said = (await complaints).decode(errors="replace").strip()
            if said:
                log.info("git: %a", said)

    async def _pass_on(self, spool: Spool, send: Send) -> None:
        """Converts the CGI answer to HTTP. Raises HTTPException if there is none."""

        async def pass_on(message: Message) -> None:
            # A reader who takes nothing is ended.
            async with asyncio.timeout(self.smart.settings.idle_seconds):
                await send(message)

        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD and (chunk := await spool.get()):
            head += chunk
        lines, separator, body = head.partition(b"\r\n\r\n")
        if not separator:
            raise HTTPException(500, "git did not answer.")
        status, headers = 200, []
        for line in lines.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"status":
                status = int(value.split()[0])
            else:
                headers.append((name.strip().lower(), value.strip()))
        await pass_on({"type": "http.response.start", "status": status, "headers": headers})
        while body or (body := await spool.get()):
            await pass_on({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
        # Also if git failed: its own protocol carries the error message to the client.
        await pass_on({"type": "http.response.body", "body": b"", "more_body": False})


async def _watch(receive: Receive, process: Process) -> None:
    """Ends the backend when the one who asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _signal(process, signal.SIGTERM)


async def _end(process: Process) -> None:
    """Ends all processes that are still running; git first gets time to release its locks."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _ENDING_SECONDS)
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def _beginning(stream: asyncio.StreamReader | None) -> bytes:
    """The beginning of git's error output. The rest is read and discarded, so that git never blocks."""
    kept = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept = (kept + chunk)[:_SHOWN_ERROR]
    return kept


def _too_large(settings: Settings) -> HTTPException:
    return HTTPException(413, f"A push may have {settings.max_push_bytes} bytes.")
