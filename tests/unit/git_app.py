"""The embedded git service's app, called without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
from atelier_git.credentials import renew
from atelier_git.endpoints.app import create_app
from atelier_git.settings import Settings
from atelier_git.store import Store

REPOSITORIES = "/api/v1/admin/users/developer/repos"
APP = "/api/v1/repos/developer/app"
PASSWORD = "as-long-and-random-as-Atelier-makes-them"


class Server:
    """The app, asked in this process."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            owner="developer",
            service_user="atelier-service",
            base_url="http://localhost/git",
            socket=str(folder / "s"),
            data_dir=folder,
            max_push_bytes=1000,
            max_file_bytes=1000,
            max_repository_bytes=10**6,
            max_branch_bytes=10**6,
            max_objects=1000,
            max_git_memory_bytes=512 * 1024**2,
            max_processes=1,
            max_per_seat=1,
            request_seconds=20,
            idle_seconds=20,
            version="1.0.0+atelier",
        )
        self._loop = asyncio.new_event_loop()
        self.app = create_app(self.settings)
        store = Store(self.settings.database)
        accounts = renew(store, "developer", "atelier-service")
        store.close()
        self.owner, self.service = accounts["admin"], accounts["service"]
        self.token = {"Authorization": f"token {self.service['token']}"}

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        more.setdefault("headers", self.token)

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, json=body, **more)

        return self._run(ask())

    def seat(self, name: str = "seat-0123456789ab", scopes: tuple[str, ...] = ("write:repository",)) -> dict[str, str]:
        """The header of a new user that may write to the app."""
        user = {"username": name, "email": f"{name}@seats.invalid", "password": PASSWORD, "restricted": True}
        assert self("POST", "/api/v1/admin/users", user).status_code == 201
        assert self("PUT", f"{APP}/collaborators/{name}", {"permission": "write"}).status_code == 204
        body = {"name": "t", "scopes": list(scopes)}
        made = self("POST", f"/api/v1/users/{name}/tokens", body, headers={}, auth=self.password)
        assert made.status_code == 201, made.text
        return {"Authorization": f"token {made.json()['sha1']}"}

    @property
    def password(self) -> tuple[str, str]:
        return self.owner["user"], self.owner["password"]

    def close(self) -> None:
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        return self._loop.run_until_complete(coroutine)


def refused(answer: httpx.Response, status: int, words: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"message", "url"}
    assert words in answer.json()["message"]
