"""Checks user name and password of an alias, for the gateway."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from atelier.common.errors import AtelierError
from atelier.common.passwords import verify_password
from atelier.gateway.aliases import Alias

from ..core.rate_limit import Limiter, network_of

_WRONG_PER_MINUTE = 10
# A network with a recent successful login is exempt from its neighbours' failures, up to this number of attempts,
# because an accepted login also reveals a correct guess.
_WRONG_BESIDE_RIGHT = 100
# A page makes about 100 requests and argon2 takes 20 ms per check, so successful logins are cached.
_REMEMBERED_SECONDS = 600.0
_REMEMBERED = 1000
_THREADS = 2
# About a second of work. Later ones are refused at once, so that a flood does not become a queue.
_MOST_WAITING = 100


class AliasAuth:
    """Checks passwords of strangers on two threads, since argon2 keeps a core busy for 20 ms; everything else that the
    API does in threads never waits for them.

    Caches successful logins by network and a digest that includes the hash, so a new password invalidates them.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "hashing")
        self._waiting = 0
        self._wrong = Limiter(_WRONG_PER_MINUTE, "too_many.passwords")
        self._wrong_beside_right = Limiter(_WRONG_BESIDE_RIGHT, "too_many.passwords")
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._turn = threading.Lock()

    async def admission(self, alias: Alias, authorization: str, caller: str) -> int:
        """Like ``check``; 429 while a hundred others wait. Belongs to one event loop."""
        if self._waiting >= _MOST_WAITING:
            return 429
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self.check, alias, authorization, caller)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, alias: Alias, authorization: str, caller: str) -> int:
        """The status for a request with that Authorization header: 204, 401, or 429 after ten wrong ones of a caller
        within a minute, except for recently successful callers. Uncached checks take argon2's 20 ms."""
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
        with self._turn:
            self._right[digest] = time.monotonic()
            self._right.move_to_end(digest)
            if len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)
        return 204

    def _is_remembered(self, digest: bytes) -> bool:
        with self._turn:
            return time.monotonic() - self._right.get(digest, -_REMEMBERED_SECONDS) < _REMEMBERED_SECONDS


def credentials(authorization: str) -> tuple[str, str]:
    """Name and password of a Basic header (RFC 7617); empty for an invalid one."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
