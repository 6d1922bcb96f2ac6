"""The admin password: guesses are bounded by address; neighbours can't lock out a browser that signed in before."""

from __future__ import annotations

import pytest
from atelier.common.errors import AtelierError, Code
from fastapi import Response
from starlette.datastructures import Headers

from api.auth.admin_password import AdminPassword
from api.auth.browsers import Browsers

ADDRESS = "203.0.113.9"
NOTHING = Headers()
PASSWORD = "workshop-password"


def admin_password(password: str = PASSWORD, protocol: str = "http") -> AdminPassword:
    return AdminPassword(password, Browsers("token", password, protocol))


def code(checked: AdminPassword, headers: Headers, word: str) -> Code | None:
    try:
        checked.check(ADDRESS, headers, [word])
    except AtelierError as error:
        return error.code
    return None


def cookie_of(checked: AdminPassword) -> str:
    answer = Response()
    checked.browsers.remember(answer)
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    return cookie.partition(";")[0]


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_a_known_browser_gets_in_beside_a_neighbour_who_guesses(protocol: str) -> None:
    checked = admin_password(protocol=protocol)
    cookie = cookie_of(checked)
    assert cookie.startswith("__Host-") is (protocol == "https")
    known = Headers({"cookie": f"other=1; {cookie.partition('=')[0]}=planted; {cookie}"})
    assert [code(checked, NOTHING, f"guess {n}") for n in range(10)] == [Code.UNAUTHORIZED] * 10
    assert code(checked, NOTHING, PASSWORD) is Code.TOO_MANY_ATTEMPTS
    assert code(checked, known, PASSWORD) is None
    # It has ten separate guesses.
    assert [code(checked, known, f"guess {n}") for n in range(10)] == [Code.UNAUTHORIZED] * 10
    assert code(checked, known, PASSWORD) is Code.TOO_MANY_ATTEMPTS


def test_nobody_makes_up_a_known_browser() -> None:
    checked = admin_password()
    name, _, value = cookie_of(checked).partition("=")
    id, _, signature = value.partition(".")
    for _ in range(10):
        code(checked, NOTHING, "guess")
    for made_up in (
        "",
        ".",
        f"{id}x.{signature}",
        f"x.{signature}",
        f"{id}.",
        id,
        f"{id}.{signature[:-1]}",
        "ü.\udcff",
    ):
        headers = Headers({"cookie": f"{name}={made_up}".encode("utf-8", "replace").decode("latin-1")})
        assert code(checked, headers, PASSWORD) is Code.TOO_MANY_ATTEMPTS, made_up
    # Another password makes all browsers unknown.
    changed = admin_password("another-password")
    assert changed.browsers.known(Headers({"cookie": f"{name}={value}"})) is None
