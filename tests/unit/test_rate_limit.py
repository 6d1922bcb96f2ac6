"""The keys by which callers' requests are counted."""

from __future__ import annotations

import pytest
from atelier.common.errors import AtelierError

from api.core.rate_limit import Limiter


def is_refused(limiter: Limiter, caller: str) -> bool:
    try:
        limiter.check(caller)
    except AtelierError:
        return True
    return False


@pytest.mark.parametrize("place", ["", "demo "])
def test_a_site_of_ipv6_counts_as_a_whole_too(place: str) -> None:
    limiter = Limiter(3, "too_many.claims")
    tries = 0
    while tries < 1000 and not is_refused(limiter, f"{place}2001:db8:7:{tries // 2:x}::1"):
        limiter.count(f"{place}2001:db8:7:{tries // 2:x}::1")
        tries += 1
    assert tries == 30
    assert is_refused(limiter, f"{place}2001:db8:7:ffff::1")
    assert not is_refused(limiter, f"{place}2001:db8:8::1")
    assert not is_refused(limiter, "other 2001:db8:7::1")
    # IPv4 addresses count one by one, however they are written.
    for number in range(40):
        limiter.count(f"{place}::ffff:192.0.2.{number}")
    assert not is_refused(limiter, f"{place}192.0.2.77")
