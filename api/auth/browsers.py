"""Cookies: their names and values, and the browsers that signed in with the workshop's password before."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from fastapi import Response
from starlette.datastructures import Headers

# How long a browser stays known after signing in. This grants no access, so it may be much longer than a session.
_KNOWN_SECONDS = 90 * 24 * 3600
_BROWSER = "browser"


class Browsers:
    """Recognises browsers by a signed cookie that a successful sign-in left (OWASP: "device cookies").

    The cookie grants no access, only a separate limit of guesses. Its signature becomes invalid when the password or
    the API's token changes.
    """

    def __init__(self, token: str, password: str, protocol: str, name: str = _BROWSER) -> None:
        self._name, self._protocol = name, protocol
        self._key = hashlib.sha256(f"browsers {token} {password}".encode(errors="replace")).digest()

    def known(self, headers: Headers) -> str | None:
        """The browser that the request comes from, as a limiter may count it; None for one that is not known."""
        for cookie in cookies_of(headers).get(cookie_name(self._name, self._protocol), ()):
            id, _, signature = cookie.partition(".")
            if hmac.compare_digest(signature.encode(errors="replace"), self._sign(id).encode()):
                return f"browser {id}"
        return None

    def new(self) -> str:
        """The name of a browser that is not known yet, as ``known`` says it once the browser has the cookie."""
        return f"browser {secrets.token_urlsafe(16)}"

    def remember(self, answer: Response, browser: str | None = None) -> None:
        """Leaves the cookie with a browser that has just proved that it knows the password, or got a seat."""
        id = (browser or self.new()).removeprefix("browser ")
        set_cookie(answer, self._name, f"{id}.{self._sign(id)}", _KNOWN_SECONDS, self._protocol)

    def _sign(self, id: str) -> str:
        return hmac.new(self._key, id.encode(errors="replace"), hashlib.sha256).hexdigest()


def cookie_name(what: str, protocol: str) -> str:
    """The name of one of the platform's cookies. With TLS browsers hold it to this very host, and let no other host
    set it."""
    prefix = "__Host-" if protocol == "https" else ""
    return f"{prefix}atelier-{what}"


def set_cookie(answer: Response, what: str, value: str, seconds: int, protocol: str, *, lax: bool = False) -> None:
    """Sets one of the platform's cookies, which no script and no other host can read."""
    answer.set_cookie(
        cookie_name(what, protocol),
        value,
        max_age=seconds,
        path="/",
        secure=protocol == "https",
        httponly=True,
        samesite="lax" if lax else "strict",
    )


def cookies_of(headers: Headers) -> dict[str, list[str]]:
    """All values of each cookie. A page of a seat may plant cookies beside the platform's, so there may be several of
    one name."""
    found: dict[str, list[str]] = {}
    for cookie in ";".join(headers.getlist("cookie")).split(";"):
        name, _, value = cookie.strip().partition("=")
        found.setdefault(name, []).append(value)
    return found
