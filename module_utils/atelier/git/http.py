"""Requests to the git server's HTTP API, with all errors as messages.

The server is Forgejo or the embedded service; both answer on a Unix socket. Source: Forgejo's API usage guide
(authentication, paging by ``page`` and ``limit``, ``X-Total-Count``) and its API's error body ``{"message", "url"}``.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ..common.bounded_socket import connect
from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GitServer

_PREFIX = "/api/v1"
# Doing these twice is doing them once, so they may be tried again.
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
_PASSING = frozenset({502, 503, 504})
# The errors for the server's refusals; GIT_ERROR for all others.
_REFUSALS = {
    422: (Code.VALIDATION_ERROR, "git.wants_else"),
    507: (Code.DISK_FULL, "git.disk_full"),
    **dict.fromkeys(_PASSING, (Code.SERVICE_UNAVAILABLE, "git.not_up")),
}
_BROKEN = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)
# Not urllib3's Retry: its pools know neither Unix sockets nor a time for a whole answer.
_PAUSES = (0.2, 0.6)
_LARGEST_ANSWER = 16 * 1024**2
_SHOWN = 300
_PAGE = 50  # Forgejo's own ceiling


@dataclass(frozen=True)
class Credentials:
    """The service account's. A token does everything but make tokens, for which Forgejo wants the password."""

    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True)
class HttpResponse:
    """``json`` is the parsed body, None if it was empty."""

    status: int
    json: Any
    total: int | None = None

    @property
    def message(self) -> str:
        """The server's error message, cut and without a full stop, for use within a sentence."""
        said = self.json.get("message", "") if isinstance(self.json, Mapping) else ""
        return said if isinstance(said, Message) else str(said).strip().rstrip(".")[:_SHOWN]


def read_credentials(git: GitServer) -> Credentials:
    """Reads the credentials that the roles git_service and forgejo wrote. Raises SERVICE_UNAVAILABLE without them."""
    try:
        found = json.loads(git.credentials.read_bytes())
        return Credentials(found["user"], found["password"], found["token"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else Message("git.foreign_credentials")
        raise AtelierError(
            Code.SERVICE_UNAVAILABLE,
            Message("git.credentials_unreadable", file=git.credentials, reason=reason),
            field="site.git",
        ) from error


class ForgeApi:
    """``timeout``: maximum seconds per response."""

    def __init__(self, git: GitServer, credentials: Credentials, timeout: float) -> None:
        self._git = git
        self._credentials = credentials
        self._timeout = timeout

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: Collection[int],
        basic: bool = False,
    ) -> HttpResponse:
        """Sends a request; returns the response if its status is in ``accept``. ``basic``: password instead of token.

        Raises SERVICE_UNAVAILABLE if the server does not answer in time, is not ready, or refuses the credentials;
        VALIDATION_ERROR if it refuses the data; GIT_ERROR for any other status or invalid JSON.
        """
        for pause in (*_PAUSES, None):
            try:
                answer = self._once(method, path, body, basic)
            except TimeoutError as error:
                raise self._silent(method, path, Message("git.no_answer", seconds=self._timeout)) from error
            except (OSError, http.client.HTTPException) as error:
                # A refused connection did nothing; one that broke may have.
                safe = method in _IDEMPOTENT or isinstance(error, ConnectionRefusedError)
                if pause is None or not safe or not isinstance(error, _BROKEN):
                    raise self._silent(method, path, str(error) or type(error).__name__) from error
            else:
                if answer.status in accept:
                    return answer
                if pause is None or answer.status not in _PASSING or method not in _IDEMPOTENT:
                    raise self._refused(method, path, answer)
            time.sleep(pause)
        raise AssertionError("the last turn ends the loop")

    def exists(self, path: str) -> bool:
        return self.request("GET", path, accept=(200, 404)).status == 200

    def pages(self, path: str) -> Iterator[Any]:
        """Every entry of a list, page by page."""
        seen, page = 0, 1
        while True:
            answer = self.request("GET", f"{path}?{urlencode({'page': page, 'limit': _PAGE})}", accept=(200,))
            if not isinstance(answer.json, list):
                raise self._error(Code.GIT_ERROR, "git.no_list", path=path)
            yield from answer.json
            seen, page = seen + len(answer.json), page + 1
            if not answer.json or (answer.total is not None and seen >= answer.total):
                return

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None, basic: bool) -> HttpResponse:
        headers = {"Accept": "application/json", "Authorization": self._authorization(basic)}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        with closing(_UnixConnection(self._git.socket, self._timeout)) as connection:
            connection.request(method, _PREFIX + path, body=data, headers=headers)
            response = connection.getresponse()
            content, deadline = b"", time.monotonic() + self._timeout
            while chunk := response.read1(65536):
                content += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(content) > _LARGEST_ANSWER:
                    raise self._error(Code.GIT_ERROR, "git.too_large", method=method, path=path)
        return self._understood(method, path, response, content)

    def _understood(self, method: str, path: str, response: http.client.HTTPResponse, content: bytes) -> HttpResponse:
        total = response.getheader("X-Total-Count", "")
        kind = response.getheader("Content-Type", "").partition(";")[0].strip()
        parsed = None
        if content.strip() and response.status != 204:
            try:
                parsed = json.loads(content)
            except ValueError as error:
                if response.status >= 400:
                    return HttpResponse(response.status, {"message": Message("git.body_of_type", kind=kind or "?")})
                words = {"method": method, "path": path, "status": response.status, "kind": kind or "a body"}
                raise self._error(Code.GIT_ERROR, "git.no_json", **words) from error
        return HttpResponse(response.status, parsed, int(total) if total.isascii() and total.isdigit() else None)

    def _authorization(self, basic: bool) -> str:
        if not basic:
            return f"token {self._credentials.token}"
        pair = f"{self._credentials.user}:{self._credentials.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _silent(self, method: str, path: str, reason: str) -> AtelierError:
        words = {"method": method, "path": path, "socket": self._git.socket, "reason": reason}
        return self._error(Code.SERVICE_UNAVAILABLE, "git.silent", **words)

    def _refused(self, method: str, path: str, answer: HttpResponse) -> AtelierError:
        if answer.status == 401:
            return self._error(Code.SERVICE_UNAVAILABLE, "git.credentials_refused", file=self._git.credentials)
        said = Message("git.reason", said=answer.message) if answer.message else ""
        code, id = _REFUSALS.get(answer.status, (Code.GIT_ERROR, "git.answered"))
        return self._error(code, id, method=method, path=path, status=answer.status, said=said)

    def _error(self, code: Code, id: str, **params: object) -> AtelierError:
        return AtelierError(code, self._without_secrets(Message(id, **params)))

    def _without_secrets(self, message: Message) -> Message:
        """Removes our credentials from a message that may repeat the server's response."""
        params: dict[str, object] = {}
        for name, value in message.params.items():
            if isinstance(value, Message):
                value = self._without_secrets(value)
            elif isinstance(value, str):
                for secret in (self._credentials.token, self._credentials.password):
                    value = value.replace(secret, "[redacted]")
            params[name] = value
        return Message(message.id, **params)


def part(name: str) -> str:
    """A name as one part of a path: also its slashes are quoted."""
    return quote(name, safe="")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost")
        self._path, self._seconds = path, timeout

    def connect(self) -> None:
        self.sock = connect(str(self._path), self._seconds)
