"""Passwords: made, hashed, compared."""

from __future__ import annotations

import re

from atelier.common.passwords import generate_password, hash_password, verify_password
from atelier.common.validation import check_password


def test_generated_ones_are_easy_to_type_and_differ() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert re.fullmatch(r"(?:[a-hjkmnp-z2-9]{4}-){2}[a-hjkmnp-z2-9]{4}", password)
        assert check_password(password)


def test_a_hash_is_argon2id_salted_and_holds_no_password() -> None:
    first, second = hash_password("open sesame"), hash_password("open sesame")
    assert first.startswith("$argon2id$")
    assert first != second
    assert "sesame" not in first


def test_comparing() -> None:
    made = hash_password("pässwörter 123")
    assert verify_password(made, "pässwörter 123")
    assert not verify_password(made, "pässwörter 124")
    assert not verify_password("not a hash", "pässwörter 123")
