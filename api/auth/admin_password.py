"""The password of whoever runs the workshop: where a request may carry it, and whether it is the right one."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl

from atelier.common.errors import AtelierError, Code
from starlette.datastructures import Headers

from ..core.rate_limit import Limiter
from .browsers import Browsers

_WRONG_PER_MINUTE = 10
# What the admin password opens, also for callers from elsewhere that have no token.
_OPENED = "/api/workshop/"


class AdminDoor:
    """Lets in whoever knows the password. Without one nobody is let in.

    People choose the password, so guesses are counted by address before they are compared. A browser that signed in
    before is counted by itself: neighbours behind the same address can't lock it out.
    """

    def __init__(self, password: str, browsers: Browsers) -> None:
        self._password = password.encode()
        self.browsers = browsers
        self._wrong = Limiter(_WRONG_PER_MINUTE, "Too many wrong admin passwords; wait {wait} seconds.")

    def leads_to(self, path: str) -> bool:
        """Whether the password opens this address."""
        return bool(self._password) and path.startswith(_OPENED)

    def check(self, address: str, headers: Headers, given: Iterable[str]) -> None:
        """Returns when one of the words is the password. Raises FORBIDDEN where there is none, UNAUTHORIZED for a
        missing or wrong one, TOO_MANY_ATTEMPTS from the eleventh wrong one of an address, or of a browser that signed
        in before, within a minute on."""
        if not self._password:
            raise AtelierError(
                Code.FORBIDDEN,
                "This installation has no admin password, so this is disabled.",
                remedy="Set WORKSHOP_ADMIN_PASSWORD (atelier_workshop_admin_password) and run ./atelier up.",
            )
        caller = self.browsers.known(headers) or address
        self._wrong.check(caller)
        words = list(given)
        if any(hmac.compare_digest(word.encode(errors="replace"), self._password) for word in words):
            return
        if words:
            self._wrong.count(caller)
        raise AtelierError(
            Code.UNAUTHORIZED,
            "The admin password is wrong." if words else "The admin password is missing.",
            remedy="Send WORKSHOP_ADMIN_PASSWORD as X-Admin-Password, as a Bearer token or as ?password=.",
        )


def words_of(headers: Headers, query: bytes, token: str) -> list[str]:
    """The admin passwords that a request carries, one of each way at most: else one request could try a thousand. The
    API's own token is none: it says who calls, not more."""
    words = headers.getlist("x-admin-password")[:1]
    words += [value for name, value in parse_qsl(query.decode("latin-1")) if name == "password"][:1]
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and not hmac.compare_digest(bearer.strip().encode(), token.encode()):
        words.append(bearer.strip())
    return words
