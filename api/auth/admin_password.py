"""The workshop's admin password: where a request can carry it, and its check."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from starlette.datastructures import Headers

from ..core.rate_limit import Limiter
from .browsers import Browsers

_WRONG_PER_MINUTE = 10
# The paths that the admin password opens, also for other machines' callers without a token.
_OPENED = "/api/workshop/"


class AdminPassword:
    """Checks the admin password. Without a configured password all are refused.

    People choose the password, so guesses are limited per address. A browser that signed in before has a separate
    limit, so that neighbours behind the same address cannot lock it out.
    """

    def __init__(self, password: str, browsers: Browsers) -> None:
        self._password = password.encode()
        self.browsers = browsers
        self._wrong = Limiter(_WRONG_PER_MINUTE, "too_many.admin_passwords")

    def leads_to(self, path: str) -> bool:
        """Whether the password opens this address."""
        return bool(self._password) and path.startswith(_OPENED)

    def check(self, address: str, headers: Headers, given: Iterable[str]) -> None:
        """Returns if the admin password is among ``given``. Raises FORBIDDEN if none is set, UNAUTHORIZED for a missing
        or wrong one, TOO_MANY_ATTEMPTS after ten wrong ones within a minute from an address or known browser."""
        if not self._password:
            raise AtelierError(Code.FORBIDDEN, Message("api.no_admin_password"))
        caller = self.browsers.known(headers) or address
        self._wrong.check(caller)
        words = list(given)
        if any(hmac.compare_digest(word.encode(errors="replace"), self._password) for word in words):
            return
        if words:
            self._wrong.count(caller)
        fault = "api.admin_password_wrong" if words else "api.admin_password_missing"
        raise AtelierError(Code.UNAUTHORIZED, Message(fault))


def words_of(headers: Headers, query: bytes, token: str) -> list[str]:
    """The admin passwords in a request, at most one per way of sending it: one request cannot try many. The API's own
    token does not count."""
    words = headers.getlist("x-admin-password")[:1]
    words += [value for name, value in parse_qsl(query.decode("latin-1")) if name == "password"][:1]
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and not hmac.compare_digest(bearer.strip().encode(), token.encode()):
        words.append(bearer.strip())
    return words
