"""Who asks: passwords, tokens, and what a token is good for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from .store import Row, Store, now

# OWASP's smallest: what is hashed here is random and long, and each seat of a class makes one.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
# So that a name that does not exist takes as long as one that does.
_NOBODY = _HASHER.hash(secrets.token_hex(16))
_REMEMBERED = 256
CATEGORIES = ("admin", "repository", "user")
SCOPES = frozenset({"all", *(f"{access}:{what}" for access in ("read", "write") for what in CATEGORIES)})


@dataclass(frozen=True)
class Caller:
    """``scopes`` are None for a password, which is good for everything; ``by_password`` is what making tokens needs."""

    user: Row
    scopes: frozenset[str] | None

    @property
    def by_password(self) -> bool:
        return self.scopes is None

    def may(self, category: str, *, write: bool) -> bool:
        if self.scopes is None or "all" in self.scopes:
            return True
        return f"write:{category}" in self.scopes or (not write and f"read:{category}" in self.scopes)


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def hash_token(token: str) -> str:
    """Plain SHA-256 is enough for 160 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(store: Store, user_id: int, name: str, scopes: list[str]) -> tuple[int, str]:
    """Its id, and the token itself, which is stored nowhere."""
    token = secrets.token_hex(20)
    values = {
        "user_id": user_id,
        "name": name,
        "hash": hash_token(token),
        "last_eight": token[-8:],
        "scopes": " ".join(scopes),
        "created_at": now(),
    }
    return store.insert("tokens", values), token


class Accounts:
    """Tells the caller from the Authorization header. May be used by several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        # Passwords that were right for a hash, as a keyed digest: argon2 takes its time on purpose.
        self._right: dict[bytes, None] = {}

    def of_token(self, header: str) -> Caller | None:
        """By the token in it; None when it has none that is good."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() in ("token", "bearer"):
            return self._of_token(value.strip())
        name, password = _basic(header)
        caller = self._of_token(password) if password else None
        return caller if caller is not None and caller.user["lower_name"] == name.lower() else None

    def of_password(self, header: str) -> Caller | None:
        """By name and password; takes its time on purpose. None when they are none that we know."""
        name, password = _basic(header)
        return self._of_password(name, password) if password else None

    def _of_token(self, token: str) -> Caller | None:
        found = self._store.one("SELECT user_id, scopes FROM tokens WHERE hash = ?", hash_token(token))
        if found is None:
            return None
        user = self._store.one("SELECT * FROM users WHERE id = ?", found["user_id"])
        return Caller(user, frozenset(found["scopes"].split())) if user else None

    def _of_password(self, name: str, password: str) -> Caller | None:
        user = self._store.user(name)
        stored = user["password_hash"] if user else _NOBODY
        digest = hmac.digest(self._key, f"{stored}\0{password}".encode(), "sha256")
        with self._lock:
            known = digest in self._right
        if not known:
            try:
                _HASHER.verify(stored, password)
            except (VerificationError, InvalidHashError):
                return None
            with self._lock:
                self._right[digest] = None
                if len(self._right) > _REMEMBERED:
                    del self._right[next(iter(self._right))]
        return Caller(user, None) if user else None


def _basic(header: str) -> tuple[str, str]:
    """Name and password of Basic authentication; empty when it is none."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password
