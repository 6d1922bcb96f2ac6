"""Aliases: valid names, ownership, the gateway's map, and access."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.passwords import hash_password
from atelier.gateway.aliases import (
    Alias,
    alias_routes,
    all_aliases,
    check_alias_password,
    check_port,
    check_subdomain,
    check_user,
    drop_alias,
    get_alias,
    put_alias,
)
from atelier.host.ports import listening_ports
from support import open_store, order, refused, row

from api.auth.alias_auth import AliasAuth
from api.core.rate_limit import Limiter
from api.routers.projects import check_password


@pytest.mark.parametrize("subdomain", ["abc", "demo-7", "a" + "b" * 31, "cafe-1", "abcdefabcdeg"])
def test_names_that_are_taken(subdomain: str) -> None:
    assert check_subdomain(subdomain) == subdomain


@pytest.mark.parametrize("subdomain", ["", "ab", "a" * 33, "1ab", "-ab", "ab-", "aB1", "a_b", "a.b", "abc\n"])
def test_names_that_are_none(subdomain: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_subdomain(subdomain)
    refused(error, Code.VALIDATION_ERROR, "subdomain")


@pytest.mark.parametrize("subdomain", ["api", "www", "git", "workshop", "abcdefabcdef", "abcdefabcdef-80"])
def test_names_that_are_not_to_be_had(subdomain: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_subdomain(subdomain)
    refused(error, Code.ALIAS_RESERVED, "subdomain")


def test_ports_users_and_passwords() -> None:
    assert (check_port(1), check_port(65535), check_user("g"), check_alias_password("123456")) == (
        1,
        65535,
        "g",
        "123456",
    )
    for port in (0, 65536, 8082, -1):
        with pytest.raises(AtelierError):
            check_port(port)
    for user in ("", "a:b", "a\n", "a" * 65):
        with pytest.raises(AtelierError):
            check_user(user)
    for password in ("12345", "x" * 129, "1234567\n"):
        with pytest.raises(AtelierError) as error:
            check_alias_password(password)
        assert password not in str(error.value)


def test_a_name_is_one_workspaces_and_goes_with_it(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        first, second = store.reserve([order("one"), order("two")])
        assert put_alias(store, Alias("demo", first.id, 3000, None, None), new=True)
        assert not put_alias(store, Alias("demo", first.id, 3000, None, None))
        for alias, new in (
            (Alias("demo", first.id, 3001, None, None), True),
            (Alias("demo", second.id, 1, None, None), False),
        ):
            with pytest.raises(AtelierError) as error:
                put_alias(store, alias, new=new)
            refused(error, Code.ALIAS_EXISTS, "subdomain")
        assert put_alias(store, Alias("demo", first.id, 8000, "guest", "hash"))
        put_alias(store, Alias("other", second.id, 80, None, None))
        assert alias_routes(store) == {"demo": f"{first.id}-8000-auth", "other": f"{second.id}-80"}
        assert not drop_alias(store, first.id, "other")
        with pytest.raises(AtelierError) as error:
            get_alias(store, first.id, "other")
        refused(error, Code.NOT_FOUND, "subdomain")
        store.delete(first.id)
        assert list(all_aliases(store)) == [second.id]
        with pytest.raises(AtelierError) as error:
            put_alias(store, Alias("late", first.id, 80, None, None))
        refused(error, Code.PROJECT_NOT_FOUND, "workspace_id")


def test_of_many_who_want_a_name_at_once_one_gets_it(tmp_path: Path) -> None:
    """Also of one workspace's: the caller whose request succeeds finds the alias as requested."""
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("one")])

        together = Barrier(8)

        def want(port: int) -> bool:
            together.wait()
            try:
                return put_alias(store, Alias("demo", made.id, port, None, None), new=True)
            except AtelierError as error:
                assert error.code is Code.ALIAS_EXISTS
                return False

        with ThreadPoolExecutor(8) as wanting:
            got = dict(zip(range(1, 9), wanting.map(want, range(1, 9)), strict=True))
        (port,) = (port for port, is_theirs in got.items() if is_theirs)
        assert get_alias(store, made.id, "demo").port == port


def header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_the_guard_counts_wrong_ones_and_forgets_with_the_hash() -> None:
    auth, alias = AliasAuth(), Alias("demo", "0123456789ab", 80, "gästin", hash_password("guests:only"))
    assert auth.check(alias, header("gästin", "guests:only"), "1.2.3.4") == 204
    wrong = ["", "Basic", "Basic !", "Bearer x", header("gästin", "guests"), header("guest", "guests:only")]
    assert [auth.check(alias, given, "1.2.3.4") for given in wrong] == [401] * 6
    assert [auth.check(alias, "Basic x", "1.2.3.4") for _ in range(5)] == [401] * 4 + [429]
    # Who was right before stays so; a new one from there must wait, one from elsewhere need not.
    assert auth.check(alias, header("gästin", "guests:only"), "1.2.3.4") == 204
    changed = Alias("demo", "0123456789ab", 80, "gästin", hash_password("another"))
    assert auth.check(changed, header("gästin", "another"), "1.2.3.4") == 429
    assert auth.check(changed, header("gästin", "guests:only"), "5.6.7.8") == 401
    assert auth.check(changed, header("gästin", "another"), "5.6.7.8") == 204


def test_who_is_let_in_tells_others_nothing() -> None:
    """A guesser elsewhere can't find what somebody is let in with by guessing on beyond the limit."""
    auth, alias = AliasAuth(), Alias("demo", "0123456789ab", 80, "guest", hash_password("guests-only"))
    right = header("guest", "guests-only")
    assert auth.check(alias, right, "1.2.3.4") == 204
    assert [auth.check(alias, "Basic x", "5.6.7.8") for _ in range(11)] == [401] * 10 + [429]
    assert auth.check(alias, right, "5.6.7.8") == 429
    # A neighbour of the one who was right is bounded, too.
    assert [auth.check(alias, "Basic x", "1.2.3.4") for _ in range(99)][-1] == 429
    assert auth.check(alias, right, "1.2.3.4") == 204
    assert auth.check(alias, "Basic x", "1.2.3.4") == 429
    assert auth.check(alias, right, "1.2.3.4") == 429


def test_a_burst_of_guesses_is_looked_at_one_by_one() -> None:
    """Also from many addresses of one IPv6 network; so is a workspace's own password."""
    auth, alias = AliasAuth(), Alias("demo", "0123456789ab", 80, "guest", hash_password("guests-only"))
    with ThreadPoolExecutor(24) as guessers:
        asked = [(header("guest", f"guess {n}"), f"2001:db8::{n:x}") for n in range(24)]
        found = list(guessers.map(lambda guess: auth.check(alias, *guess), asked))
    assert (found.count(401), found.count(429)) == (10, 14)
    assert auth.check(alias, header("guest", "guests-only"), "2001:db8:0:1::1") == 204

    wrong, seat = Limiter(10, "too_many.passwords"), row(password_hash=hash_password("guests-only"))

    def guess(number: int) -> Code:
        with pytest.raises(AtelierError) as error:
            check_password(seat, f"guess {number}", wrong)
        return error.value.code

    with ThreadPoolExecutor(24) as guessers:
        codes = list(guessers.map(guess, range(24)))
    assert codes.count(Code.INVALID_WORKSPACE_PASSWORD) == 10
    assert codes.count(Code.TOO_MANY_ATTEMPTS) == 14


def test_listening_ports() -> None:
    table = """  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000
   1: 00000000:1F92 00000000:0000 0A 00000000:00000000
   2: 100012AC:1F92 010012AC:C350 01 00000000:00000000
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0FA0 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000001000000:0FA1 00000000000000000000000000000000:0000 0A 00000000:00000000
"""
    assert listening_ports(table) == {3000: False, 8082: True, 4000: True, 4001: False}
