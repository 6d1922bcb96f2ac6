"""A slow reader of the embedded git service holds a file, and no git."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from atelier_git.endpoints.spool import Spool
from git_app import APP, Server
from test_git_branches import folder
from test_git_cleanup import run

from tests.waiting import still_waits

MIB = 1024**2


def _within(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 20))


@pytest.mark.parametrize("full", [False, True])
def test_what_goes_in_comes_out_in_order(tmp_path: Path, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any pace, through memory and the disk; on a full disk the writer waits."""
    if full:
        monkeypatch.setattr(
            "atelier_git.endpoints.spool.os.pwrite", lambda *given: (_ for _ in ()).throw(OSError(28, "full"))
        )
    data = os.urandom(4 * MIB)

    async def both() -> bytes:
        spool, found = Spool(tmp_path), b""

        async def write() -> None:
            for place in range(0, len(data), 50_000):
                await spool.put(data[place : place + 50_000])
            await spool.end()

        writing = asyncio.create_task(write())
        assert await still_waits(writing) is full
        while chunk := await spool.get():
            found += chunk
        await writing
        spool.close()
        return found

    assert _within(both()) == data
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_waits_is_let_go(tmp_path: Path) -> None:
    async def both() -> None:
        spool = Spool(tmp_path / "nowhere")
        writing = [asyncio.create_task(spool.put(bytes(2 * MIB))) for _ in range(2)]
        assert await still_waits(asyncio.gather(*map(asyncio.shield, writing)))
        await spool.abandon()
        await asyncio.gather(*writing)
        spool.close()

    _within(both())


def test_a_reader_who_takes_nothing_keeps_nobody_from_a_clone(app: Server) -> None:
    """There is one git at once; who asked first stops reading in the middle."""
    path = folder(app)
    (path / "blob").write_bytes(os.urandom(3 * MIB))
    blob = run(path, "hash-object", "-w", str(path / "blob"))
    tree = run(path, "mktree", text=f"100644 blob {blob}\tlarge\n")
    commit = run(path, "commit-tree", tree, "-m", "x")
    run(path, "update-ref", "refs/heads/main", commit)
    line = f"want {commit} no-progress\n"
    body = f"{len(line) + 4:04x}{line}00000009done\n".encode()

    async def ask(reads: asyncio.Event) -> int:
        size, sent = 0, False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.sleep(60)
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal size
            await reads.wait()
            size += len(message.get("body", b""))

        headers = [(b"authorization", app.token["Authorization"].encode())]
        headers += [(b"content-type", b"application/x-git-upload-pack-request")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/developer/app.git/git-upload-pack",
            "raw_path": b"/developer/app.git/git-upload-pack",
            "query_string": b"",
            "headers": headers,
            "server": ("localhost", 80),
            "scheme": "http",
            "http_version": "1.1",
        }
        await app.app(scope, receive, send)  # type: ignore[arg-type]
        return size

    async def both() -> None:
        never, now = asyncio.Event(), asyncio.Event()
        now.set()
        slow = asyncio.create_task(ask(never))
        assert await still_waits(slow, 0.3)
        assert await asyncio.wait_for(ask(now), 10) > 3 * MIB
        assert not slow.done()
        never.set()
        assert await slow > 3 * MIB

    app._run(both())  # type: ignore[arg-type]
    assert app("GET", APP).status_code == 200
    assert list(app.settings.incoming.iterdir()) == []
