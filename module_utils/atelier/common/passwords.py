"""Generates, hashes and compares seat passwords. The plain text is never stored; code-server verifies argon2id."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# Letters and digits that can't be mistaken for each other on a printed card.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 3, 4


def generate_password() -> str:
    """Three groups of four, such as ``kfp7-2mxq-w9dh``: 59 bits, easy to type from paper."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))


def hash_password(password: str) -> str:
    """An argon2id hash with OWASP's minimum cost (19 MiB, 2 passes): about 20 ms, so that 50 seats take a second.

    Source: OWASP Password Storage Cheat Sheet.
    """
    return _hasher().hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """Whether the password made that hash; compared in constant time by argon2."""
    from argon2.exceptions import InvalidHashError, VerifyMismatchError

    try:
        return _hasher().verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
