"""Fixed addresses: the next free one, round the range, never one that was just in use."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.database.placement import take_addresses
from support import refused

SUBNET = IPv4Network("10.9.0.0/27")  # 16 reserved, 15 to give: .16 to .30


def test_the_first_ones_are_reserved() -> None:
    assert take_addresses(SUBNET, [], None, 2) == ["10.9.0.16", "10.9.0.17"]


def test_an_address_that_came_free_waits_until_the_range_was_used() -> None:
    last, given = None, []
    for _ in range(15):
        (last,) = take_addresses(SUBNET, [], last, 1)
        given.append(last)
    assert len(set(given)) == 15
    assert take_addresses(SUBNET, [], last, 1) == ["10.9.0.16"]


def test_wrapping_skips_what_is_in_use() -> None:
    assert take_addresses(SUBNET, ["10.9.0.16", "10.9.0.30"], "10.9.0.28", 2) == ["10.9.0.29", "10.9.0.17"]


def test_the_broadcast_address_is_never_given() -> None:
    assert "10.9.0.31" not in take_addresses(SUBNET, [], "10.9.0.20", 15)


def test_a_last_address_of_another_subnet_does_not_matter() -> None:
    assert take_addresses(SUBNET, [], "192.168.0.77", 1) == ["10.9.0.16"]


def test_exhaustion_says_what_to_do() -> None:
    used = [f"10.9.0.{n}" for n in range(16, 29)]
    assert len(take_addresses(SUBNET, used, None, 2)) == 2
    with pytest.raises(AtelierError) as error:
        take_addresses(SUBNET, used, None, 3)
    assert "2 free addresses; 3 are needed" in refused(error, Code.ADDRESSES_EXHAUSTED, "site.networks")
