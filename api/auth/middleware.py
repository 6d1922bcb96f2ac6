"""Authentication and authorization, before a request reaches any route.

The API listens on a Unix socket that only the gateway (and root) can open, and the gateway sets X-Forwarded-For to the
client's true address. So this header can be trusted here, and nowhere else.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address

from atelier.common.errors import AtelierError, Code, invalid
from atelier.common.messages import Message
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from ..core.errors import error_response
from ..schemas.fields import templates_on_offer
from ..settings import Settings
from .admin_password import AdminPassword, words_of
from .browsers import cookie_name, cookies_of
from .sessions import Role, Sessions

LARGEST_BODY = 1024**2 - 1
# Limit for bodies of unauthenticated callers. Parsing 1 MiB of odd JSON blocks the event loop for 0.5 s and more.
_LARGEST_OF_STRANGERS = 16 * 1024
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+?)\.?(?::[0-9]{1,5})?")
# Open to everybody: none of these reveals anything about a workspace.
_PUBLIC = {
    *("/api/health", "/api/config", "/api/limits", "/api/workshop/status", "/api/workshop/claim", "/api/session"),
    "/pages/workshop/told",
}
# Pages check the caller themselves and show the sign-in if needed.
_PAGE = re.compile(
    r"/(?:workshop(?:/admin)?|workspaces/[^/]+|whitelist|repositories|runbook|jobs(?:/[^/]+)?|static/.+)?"
)
# Protected by a workspace's password, which each handler checks itself.
_BY_SEAT_PASSWORD = re.compile(
    r"/api/(?:projects/[0-9a-f]{12}/ports/[0-9]{1,5}/share|ports/[0-9a-f]{12}-[0-9]{1,5}/sign-in)"
)
_FORM = re.compile(r"/api/ports/[^/]+/sign-in")
# A browser may follow a link from another site to these, but not load them on behalf of one.
_READ = re.compile(r"/(?:api|pages|metrics)(?:/.*)?")
# Paths open to a session with the workshop's password.
_OF_WORKSHOP = re.compile(r"/(?:api/workshop/.+|api/events|pages/workshop/.+)")


@dataclass(frozen=True)
class Caller:
    """``address`` is the client's, as the gateway saw it; ``name`` is used in the audit log. An ``operator`` has all
    rights; a ``workshop_admin`` signed in with the workshop's password."""

    address: str
    name: str
    operator: bool = False
    workshop_admin: bool = False


# Builds a page, instead of JSON, that tells of the error; None for programs.
ErrorPage = Callable[[Request, AtelierError], Response | None]


class AuthMiddleware:
    """ASGI middleware: refuses strangers, foreign hosts and origins, bodies that are too large or not JSON."""

    def __init__(
        self, app: ASGIApp, settings: Settings, sessions: Sessions, admin_password: AdminPassword, page: ErrorPage
    ) -> None:
        self._app = app
        self._settings = settings
        self._sessions = sessions
        self._admin_password = admin_password
        self._page = page
        self._cookies = {cookie_name(role, settings.site.protocol): role for role in Role}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            scope["caller"] = caller = self._admit(scope, headers)
            most = largest_body(caller, scope["path"])
            _check_body(scope, headers, most)
        except AtelierError as error:
            answer = self._page(Request(scope), error) or error_response(error)
            await answer(scope, receive, send)
            return
        templates_on_offer.set(self._settings.api_templates)
        await self._app(scope, _limited(receive, headers, most), send)

    def _admit(self, scope: Scope, headers: Headers) -> Caller:
        host = headers.get("host", "").lower()
        named = _HOST.fullmatch(host)
        if named is None or named[1] not in self._settings.allowed_hosts:
            raise AtelierError(Code.FORBIDDEN, Message("api.foreign_host"))
        own = f"{self._settings.site.protocol}://{host}"
        if scope["method"] in _CHANGING and not _is_from(own, headers):
            raise AtelierError(Code.FORBIDDEN, Message("api.foreign_change"))
        path = scope["path"]
        if _READ.fullmatch(path) and not _is_asked_for(headers):
            raise AtelierError(Code.FORBIDDEN, Message("api.foreign_read"))
        caller = self._caller(headers)
        if caller.operator or _is_for_all(path) or is_page(path.rstrip("/") or "/"):
            return caller
        if caller.workshop_admin and _OF_WORKSHOP.fullmatch(path):
            return caller
        if self._admin_password.leads_to(path):
            words = words_of(headers, scope["query_string"], self._settings.token)
            self._admin_password.check(caller.address, headers, words)
            return replace(caller, name=f"admin {caller.address}")
        raise AtelierError(Code.UNAUTHORIZED, Message("api.token_missing"))

    def _caller(self, headers: Headers) -> Caller:
        address, is_local = self._address(headers)
        roles = self._signed_in(headers)
        admin = Role.WORKSHOP in roles
        if is_local:
            return Caller(address, "loopback", operator=True, workshop_admin=admin)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._settings.token.encode()):
            return Caller(address, f"token {address}", operator=True, workshop_admin=admin)
        if Role.OPERATOR in roles:
            return Caller(address, f"signed in {address}", operator=True, workshop_admin=admin)
        return Caller(address, address, operator=self._settings.open_to_all, workshop_admin=admin)

    def _address(self, headers: Headers) -> tuple[str, bool]:
        """The client's address, and whether it identifies the operator. Without the header the request did not come
        through the gateway but directly over the socket; a header with anything else than one address is not trusted.
        If a proxy in front may call from this machine, loopback proves nothing."""
        given = headers.getlist("x-forwarded-for")
        if not given:
            return "127.0.0.1", True
        try:
            (text,) = given
            address = ip_address(text)
        except ValueError:
            return "unknown", False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return str(address), (mapped or address).is_loopback and self._settings.loopback_is_operator

    def _signed_in(self, headers: Headers) -> set[Role]:
        """The roles that the request's cookies prove. A seat's page can set cookies with the same names, so all values
        are tried, and each counts for its own role only."""
        sent = cookies_of(headers)
        return {
            role
            for name, role in self._cookies.items()
            if any(self._sessions.is_open(role, id) for id in sent.get(name, ()))
        }


def largest_body(caller: Caller, path: str) -> int:
    """The maximum size of a request's body in bytes."""
    is_known = caller.operator or caller.workshop_admin
    return LARGEST_BODY if is_known or not _is_for_all(path) else _LARGEST_OF_STRANGERS


def _is_for_all(path: str) -> bool:
    return path.rstrip("/") in _PUBLIC or _BY_SEAT_PASSWORD.fullmatch(path) is not None


def _check_body(scope: Scope, headers: Headers, most: int) -> None:
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > most:
        raise AtelierError(Code.PAYLOAD_TOO_LARGE, Message("api.body_too_large", most=most // 1024))
    has_body = length != "0" or "transfer-encoding" in headers
    if scope["method"] in _CHANGING and has_body:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != ("application/x-www-form-urlencoded" if _FORM.fullmatch(scope["path"]) else "application/json"):
            raise invalid("api.content_type", "Content-Type", kind=kind[:60])


def is_page(path: str) -> bool:
    """Whether the path may be a page or a file of one; each page checks its caller itself."""
    return _PAGE.fullmatch(path) is not None


def _is_from(own: str, headers: Headers) -> bool:
    """Whether the request comes from no browser, or from a page of this origin."""
    is_own = all(origin.lower() == own for origin in headers.getlist("origin"))
    return is_own and headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _is_asked_for(headers: Headers) -> bool:
    """Whether a read comes from no page of another site, other than by a followed link."""
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _limited(receive: Receive, headers: Headers, most: int) -> Receive:
    """Counts a body that did not say its length."""
    if "content-length" in headers:
        return receive
    received = 0

    async def counted() -> AsgiMessage:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            # The one exception that the framework lets through while it reads a body.
            raise HTTPException(413)
        return message

    return counted
