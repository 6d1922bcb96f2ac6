"""Authenticates callers: passwords, tokens, and the scopes of a token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from .store import Row, Store, now

# A shorter password may be chosen by a person. Atelier's are random, with 43 characters and more.
SHORTEST_PASSWORD = 32
CATEGORIES = ("admin", "repository", "user")
SCOPES = frozenset({"all", *(f"{access}:{what}" for access in ("read", "write") for what in CATEGORIES)})


@dataclass(frozen=True)
class Caller:
    """``scopes`` are None for a password, which has all rights and is required to create tokens."""

    user: Row
    scopes: frozenset[str] | None

    @property
    def seat(self) -> str | None:
        """The user whose requests are limited; None for administrators."""
        return None if self.user["is_admin"] else str(self.user["name"])

    def may(self, category: str, *, write: bool) -> bool:
        if self.scopes is None or "all" in self.scopes:
            return True
        return f"write:{category}" in self.scopes or (not write and f"read:{category}" in self.scopes)


def hash_secret(secret: str) -> str:
    """The hash of a token or a password. Both are long and random, so they cannot be guessed at any speed; a slow hash
    would only slow down the creation of seats."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_user(
    store: Store, name: str, email: str, password: str, *, is_admin: bool = False, restricted: bool = False
) -> int:
    """Creates a user; returns its id. Raises Taken."""
    values = {
        "name": name,
        "lower_name": name.lower(),
        "email": email,
        "password_hash": hash_secret(password),
        "is_admin": int(is_admin),
        "restricted": int(restricted),
        "created_at": now(),
    }
    return store.insert("users", values)


def new_token(store: Store, user_id: int, name: str, scopes: list[str]) -> tuple[int, str]:
    """Creates a token; returns its id and the token itself, which is not stored. Raises Taken."""
    token = secrets.token_hex(20)
    values = {
        "user_id": user_id,
        "name": name,
        "hash": hash_secret(token),
        "last_eight": token[-8:],
        "scopes": " ".join(scopes),
        "created_at": now(),
    }
    return store.insert("tokens", values), token


def authenticate(store: Store, header: str) -> Caller | None:
    """The caller that an Authorization header identifies; None if no valid token or password is in it."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() in ("token", "bearer"):
        return _by_token(store, value.strip())
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # no base64, or no UTF-8 in it
        return None
    found = _by_token(store, secret)
    if found is not None and found.user["lower_name"] == name.lower():
        return found
    user = store.user(name)
    if user is None or not hmac.compare_digest(user["password_hash"], hash_secret(secret)):
        return None
    return Caller(user, None)


def _by_token(store: Store, token: str) -> Caller | None:
    found = store.one("SELECT user_id, scopes FROM tokens WHERE hash = ?", hash_secret(token))
    if found is None:
        return None
    user = store.one("SELECT * FROM users WHERE id = ?", found["user_id"])
    return Caller(user, frozenset(found["scopes"].split())) if user else None
