"""Who may call, from where, and with what: decided before a request reaches any route.

The API listens on a Unix socket that only the gateway (and root) can open, and the gateway sets X-Forwarded-For to the
caller's true address. So that header can be believed here, and nowhere else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from atelier.errors import AtelierError, Code
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response
from .settings import Settings

LARGEST_BODY = 1024**2 - 1
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
# What anybody may ask: nothing here tells of a workspace.
_PUBLIC = {"/api/health", "/api/config", "/api/limits", "/api/workshop/status", "/api/workshop/claim"}


@dataclass(frozen=True)
class Caller:
    """``address`` as the gateway saw it; ``name`` is what the audit log writes."""

    address: str
    name: str


class Gatekeeper:
    """ASGI middleware: refuses strangers, foreign hosts and origins, bodies that are too large or not JSON."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            scope["caller"] = self._admit(scope, headers)
            self._check_body(scope, headers)
        except AtelierError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _limited(receive, headers), send)

    def _admit(self, scope: Scope, headers: Headers) -> Caller:
        host = headers.get("host", "")
        if _bare(host) not in self._settings.allowed_hosts:
            raise AtelierError(
                Code.FORBIDDEN,
                "The Host of the request is not this platform's.",
                remedy="Use the platform's own address.",
            )
        origin = headers.get("origin")
        if scope["method"] in _CHANGING and origin is not None and not self._own(origin, host):
            raise AtelierError(
                Code.FORBIDDEN,
                "Changes are taken from the platform's own pages only; this one came from another origin.",
                remedy="Call from the platform's own address, or without a browser.",
            )
        address = headers.get("x-forwarded-for", "127.0.0.1")
        if ip_address(address).is_loopback:
            return Caller(address, "loopback")
        if self._settings.open_to_all:
            return Caller(address, address)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._settings.token.encode()):
            return Caller(address, f"token {address}")
        if scope["path"].rstrip("/") in _PUBLIC:
            return Caller(address, address)
        raise AtelierError(
            Code.UNAUTHORIZED,
            "This call needs a token.",
            remedy="Send it as Authorization: Bearer <token>; it is in the state folder, in the file api/token.",
        )

    def _own(self, origin: str, host: str) -> bool:
        parts = urlsplit(origin)
        return parts.scheme == self._settings.site.protocol and parts.netloc.lower() == host.lower()

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > LARGEST_BODY:
            raise _too_large()
        has_body = length != "0" or "transfer-encoding" in headers
        if scope["method"] in _CHANGING and has_body:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise AtelierError(
                    Code.VALIDATION_ERROR,
                    f"The body's content type is {kind[:60]!r}.",
                    field="Content-Type",
                    remedy="Send JSON, with Content-Type: application/json.",
                )


def _bare(host: str) -> str:
    name = host.lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].rstrip(".")


def _too_large() -> AtelierError:
    return AtelierError(
        Code.PAYLOAD_TOO_LARGE, "The body is too large.", remedy=f"Keep it within {LARGEST_BODY // 1024} KiB."
    )


def _limited(receive: Receive, headers: Headers) -> Receive:
    """Counts a body that did not say its length."""
    if "content-length" in headers:
        return receive
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            # The one exception that the framework lets through while it reads a body.
            raise HTTPException(413)
        return message

    return counted
