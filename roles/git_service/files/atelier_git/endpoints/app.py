"""The ASGI application: authentication, routing and HTTP responses. Only the health check is public."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..accounts import Caller, authenticate
from ..repositories import cleanup, git
from ..repositories.contents import Limits
from ..repositories.policy import Pusher, hidden_references
from ..settings import Settings
from ..store import Row, Store
from . import admin, api
from .api import Answer, Call, Service
from .slots import Slots
from .smart_http import SERVICES, SmartHttp
from .space import FULL, check_room, drop_ballast, take_ballast

log = logging.getLogger("atelier_git")

_LARGEST_JSON = 1024**2
_PAGE, _LARGEST_PAGE = 30, 50  # Forgejo's
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="git", charset="UTF-8"'}
_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}

_REPOSITORY = "/repos/{owner}/{repository}"
_ROUTES: list[tuple[str, str, Callable[[Call], Answer]]] = [
    ("GET", "/version", api.version),
    ("GET", "/user", admin.get_me),
    ("GET", "/users/{user}", admin.get_user),
    ("GET", "/users/{user}/repos", api.list_repositories),
    ("GET", "/users/{user}/tokens", admin.list_tokens),
    ("POST", "/users/{user}/tokens", admin.create_token),
    ("DELETE", "/users/{user}/tokens/{token}", admin.delete_token),
    ("POST", "/admin/users", admin.create_user),
    ("PATCH", "/admin/users/{user}", admin.edit_user),
    ("DELETE", "/admin/users/{user}", admin.delete_user),
    ("POST", "/admin/users/{user}/repos", api.create_repository),
    ("GET", _REPOSITORY, api.get_repository),
    ("PATCH", _REPOSITORY, api.edit_repository),
    ("DELETE", _REPOSITORY, api.delete_repository),
    ("GET", f"{_REPOSITORY}/branches", api.list_branches),
    ("POST", f"{_REPOSITORY}/branches", api.create_branch),
    ("GET", f"{_REPOSITORY}/branches/{{branch:path}}", api.get_branch),
    ("GET", f"{_REPOSITORY}/collaborators", admin.list_collaborators),
    ("PUT", f"{_REPOSITORY}/collaborators/{{user}}", admin.put_collaborator),
    ("DELETE", f"{_REPOSITORY}/collaborators/{{user}}", admin.delete_collaborator),
    ("GET", f"{_REPOSITORY}/branch_protections", admin.list_branch_protections),
    ("POST", f"{_REPOSITORY}/branch_protections", admin.create_branch_protection),
    ("GET", f"{_REPOSITORY}/branch_protections/{{rule:path}}", admin.get_branch_protection),
    ("PATCH", f"{_REPOSITORY}/branch_protections/{{rule:path}}", admin.edit_branch_protection),
    ("DELETE", f"{_REPOSITORY}/branch_protections/{{rule:path}}", admin.delete_branch_protection),
    ("GET", f"{_REPOSITORY}/tag_protections", admin.list_tag_protections),
    ("POST", f"{_REPOSITORY}/tag_protections", admin.create_tag_protection),
]


def create_app(settings: Settings) -> Starlette:
    """Opens the database and removes leftovers of a crash. Raises OSError or sqlite3.Error for an unusable folder."""
    drop_ballast(settings.data_dir)
    settings.repositories.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(settings.incoming, ignore_errors=True)
    settings.incoming.mkdir(mode=0o700, exist_ok=True)
    store = Store(settings.database)
    _tidy(settings, store)
    take_ballast(settings.data_dir)
    slots = Slots(settings)
    service, smart = Service(settings, store), SmartHttp(settings, slots)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield
        store.close()

    routes = [
        Route("/api/healthz", _health),
        *(
            Route(f"/api/v1{path}", _endpoint(service, slots, function), methods=[method])
            for method, path, function in _ROUTES
        ),
        Route("/{owner}/{repository}/info/refs", _git_endpoint(service, smart, "info/refs"), methods=["GET"]),
        *(
            Route(f"/{{owner}}/{{repository}}/{name}", _git_endpoint(service, smart, name), methods=["POST"])
            for name in SERVICES
        ),
        Route("/{owner}/{repository}", _page(service), methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=_handlers(settings))
    app.router.redirect_slashes = False
    app.add_middleware(_Log)
    return app


def _tidy(settings: Settings, store: Store) -> None:
    """Removes incomplete objects from the repositories. They are leftovers, because no git process runs yet."""
    rows = store.all("SELECT id, folder, default_branch, empty FROM repositories")
    git.remove_unknown(settings.repositories, {row["folder"] for row in rows})
    for row in rows:
        folder = settings.repositories / row["folder"]
        cleanup.remove_at_start(folder)
        try:
            if row["empty"] and not git.make_whole(folder, row["default_branch"]):
                # Its first push was accepted, but could not be stored.
                store.run("UPDATE repositories SET empty = 0 WHERE id = ?", row["id"])
        except git.GitError as error:
            log.error("%s can't be made whole: %s", row["folder"], error)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "pass", "description": "Atelier's git service"})


def _endpoint(service: Service, slots: Slots, function: Callable[[Call], Answer]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        caller = await _caller(service, request)
        async with slots.of_seat(caller.seat):
            body = await _json(service, request) if request.method in ("POST", "PUT", "PATCH") else {}
            if service.unnoted:
                await run_in_threadpool(api.note_again, service)
            call = Call(service, caller, request.path_params, body)
            status, found = await run_in_threadpool(function, call)
        if isinstance(found, list):
            return _paged(service.settings, request, found)
        return Response(status_code=status) if found is None else JSONResponse(found, status)

    return answer


def _git_endpoint(service: Service, smart: SmartHttp, path: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> ASGIApp:
        caller = await _caller(service, request)
        named = request.query_params.get("service", "") if path == "info/refs" else path
        if named not in SERVICES:
            raise HTTPException(403, "Clients of git before 1.6.6 can't be served.")
        pushes = named == "git-receive-pack"
        row, own = await run_in_threadpool(_readable, service, caller, request, write=pushes)
        if pushes and not own.may_write:
            raise HTTPException(403, "The user may not push to this repository.")
        if pushes:
            # Here already: git shows a sentence that comes before the push itself.
            check_room(service.settings.incoming)
        limits = _limits(service.settings, row, caller)
        variables = {"REMOTE_USER": own.user, "ATELIER_PUSHER": own.dump(), "ATELIER_LIMITS": limits.dump()}
        hidden = hidden_references(own.visible)
        pushed = partial(api.note_push, service, row)
        return smart.answer(
            request, service.folder(row), path, variables, hidden, pushed, seat=caller.seat, pushes=pushes
        )

    return answer


def _limits(settings: Settings, repository: Row, caller: Caller) -> Limits:
    return Limits(
        file=settings.max_file_bytes,
        repository=settings.max_repository_bytes,
        objects=settings.max_objects,
        branch=settings.max_branch_bytes if caller.seat else None,
        default_branch=repository["default_branch"],
    )


def _page(service: Service) -> Callable[[Request], Any]:
    """The response for a browser. There are no pages, so it says how to clone the repository."""

    async def answer(request: Request) -> Response:
        row, _ = await run_in_threadpool(_readable, service, await _caller(service, request), request, write=False)
        address = f"{service.settings.base_url}/{row['owner_name']}/{row['name']}.git"
        said = f"{row['owner_name']}/{row['name']}\n\ngit clone {address}\n\nThis git server has no pages of its own.\n"
        return PlainTextResponse(said, headers=_NO_CACHE)

    return answer


def _readable(service: Service, caller: Caller, request: Request, *, write: bool) -> tuple[Row, Pusher]:
    """The repository of the address, with ``.git`` or without, and the caller's rights on it."""
    path = {**request.path_params, "repository": request.path_params["repository"].removesuffix(".git")}
    call = Call(service, caller, path)
    row = call.repository(least="read")
    call.need("repository", write=write)
    return row, call.rights(row)


async def _caller(service: Service, request: Request) -> Caller:
    header = request.headers.get("authorization", "")
    caller = await run_in_threadpool(authenticate, service.store, header) if header else None
    if caller is None:
        raise HTTPException(401, "token is required" if not header else "user does not exist or its password is wrong")
    request.state.user = caller.user["name"]
    return caller


async def _json(service: Service, request: Request) -> dict[str, Any]:
    content = b""
    try:
        async with asyncio.timeout(service.settings.idle_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > _LARGEST_JSON:
                    raise HTTPException(413, "The body is too large.")
    except TimeoutError as error:
        raise HTTPException(408, "The body was not sent in time.") from error
    try:
        found = json.loads(content or b"{}")
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is JSON, but no text
    except ValueError as error:
        raise HTTPException(422, "The body is not JSON.") from error
    if not isinstance(found, dict):
        raise HTTPException(422, "The body must be a JSON object.")
    return found


def _paged(settings: Settings, request: Request, found: list[Any]) -> Response:
    """One page of a list, with the total number and links to the other pages."""
    page = max(1, _number(request, "page", 1))
    limit = min(_LARGEST_PAGE, _number(request, "limit", _PAGE) or _PAGE)
    last = max(1, -(-len(found) // limit))
    wanted: dict[str, int] = {}
    if page < last:
        wanted |= {"next": page + 1, "last": last}
    if page > 1:
        wanted |= {"first": 1, "prev": page - 1}
    address = f"{settings.base_url}{request.url.path}"
    link = ",".join(f'<{address}?{urlencode({"limit": limit, "page": n})}>; rel="{rel}"' for rel, n in wanted.items())
    headers = {"X-Total-Count": str(len(found)), "Access-Control-Expose-Headers": "Link, X-Total-Count"}
    return JSONResponse(found[(page - 1) * limit : page * limit], headers=headers | ({"Link": link} if link else {}))


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 7 else default


def _handlers(settings: Settings) -> dict[Any, Any]:
    def error(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        more = {**(headers or {}), **(_CHALLENGE if status == 401 else {}), **_NO_CACHE}
        if request.url.path.startswith("/api/"):
            return JSONResponse({"message": message, "url": f"{settings.base_url}/api/swagger"}, status, more)
        return PlainTextResponse(f"{message}\n", status, more)

    async def http(request: Request, raised: HTTPException) -> Response:
        # Do not reveal to anonymous callers which paths exist.
        if raised.status_code in (404, 405) and "authorization" not in request.headers:
            return error(request, 401, "token is required")
        message = api.MISSING if raised.detail == HTTPStatus.NOT_FOUND.phrase else raised.detail
        return error(request, raised.status_code, message, dict(raised.headers or {}))

    async def damaged(request: Request, raised: git.GitError) -> Response:
        log.error("%s %a failed: %a", request.method, request.url.path, str(raised))
        if "No space left" in str(raised):
            return error(request, 507, FULL)
        return error(request, 500, f"git can't work with this repository: {raised}")

    async def full(request: Request, raised: sqlite3.OperationalError) -> Response:
        log.error("%s %a failed: %a", request.method, request.url.path, str(raised))
        return error(request, 507, FULL) if "is full" in str(raised) else await unforeseen(request, raised)

    async def unforeseen(request: Request, raised: Exception) -> Response:
        log.error("%s %a failed", request.method, request.url.path, exc_info=raised)
        return error(request, 500, "Something unforeseen went wrong; the log of the git service says what.")

    return {
        HTTPException: http,
        git.GitError: damaged,
        sqlite3.OperationalError: full,
        Exception: unforeseen,
    }


class _Log:
    """Logs each request: user, request, status. Never a header, a query or a body."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == "/api/healthz":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 0
        scope.setdefault("state", {})

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            who = scope["state"].get("user", "-")
            took = (time.monotonic() - begin) * 1000
            # Log the encoded path: the decoded one may contain control characters and line ends.
            path = quote(scope["path"], errors="replace")
            log.info("%s %s %s %s %.0f ms", who, scope["method"], path, status, took)
