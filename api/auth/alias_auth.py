"""Who may pass to an alias that wants a name and a password: what the gateway asks before it lets a request through."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections import OrderedDict

from atelier.common.errors import AtelierError
from atelier.common.passwords import verify_password
from atelier.gateway.aliases import Alias

from ..core.rate_limit import Limiter, network_of

_WRONG_PER_MINUTE = 10
# A network whose user was right a moment ago gets in however often its neighbours are wrong, up to this: what is let in
# also tells a guesser that a guess was right.
_WRONG_BESIDE_RIGHT = 100
# A page asks for a hundred things at once, and argon2 takes 20 ms for each: whoever was right is so for a while.
_REMEMBERED_SECONDS = 600.0
_REMEMBERED = 1000


class AliasGuard:
    """Remembers who was right: by network, and by a digest that includes the hash, so a new password ends it."""

    def __init__(self) -> None:
        self._wrong = Limiter(_WRONG_PER_MINUTE, "Too many wrong passwords for this address.")
        self._wrong_beside_right = Limiter(_WRONG_BESIDE_RIGHT, "Too many wrong passwords for this address.")
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._turn = threading.Lock()

    def admission(self, alias: Alias, authorization: str, caller: str) -> int:
        """The status for a request with that Authorization header: 204, 401, or 429 from the eleventh wrong one of a
        caller within a minute on, which does not concern those that were right before. Takes argon2's 20 ms for those
        that are not remembered."""
        if alias.user is None or alias.password_hash is None:
            return 204
        key = f"{alias.subdomain} {network_of(caller)}"
        known = f"{key}\0{alias.password_hash}\0{authorization}"
        digest = hashlib.sha256(known.encode(errors="replace")).digest()
        try:
            self._wrong_beside_right.check(key)
        except AtelierError:
            return 429
        if self._is_remembered(digest):
            return 204
        right_user, right_hash = alias.user, alias.password_hash
        user, password = credentials(authorization)

        def is_right() -> bool:
            if self._is_remembered(digest):  # since it waited for its turn
                return True
            name_is_right = hmac.compare_digest(user.encode(), right_user.encode())
            return verify_password(right_hash, password) and name_is_right

        try:
            if not self._wrong.attempt(key, is_right):
                self._wrong_beside_right.count(key)
                return 401
        except AtelierError:
            self._wrong_beside_right.count(key)
            return 429
        self._remember(digest)
        return 204

    def _is_remembered(self, digest: bytes) -> bool:
        with self._turn:
            return time.monotonic() - self._right.get(digest, -_REMEMBERED_SECONDS) < _REMEMBERED_SECONDS

    def _remember(self, digest: bytes) -> None:
        with self._turn:
            self._right[digest] = time.monotonic()
            self._right.move_to_end(digest)
            if len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)


def credentials(authorization: str) -> tuple[str, str]:
    """Name and password of a Basic header (RFC 7617); empty ones for what is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
