"""Whitelists: valid domains, refusals with reasons, and how lists are changed and stored."""

from __future__ import annotations

import random
import re
import string
import time

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.egress.squid_config import Configuration
from atelier.egress.whitelist import (
    BASE,
    MAX_DOMAINS,
    WhitelistMode,
    covering,
    normalise,
    plan_whitelist,
)


@pytest.mark.parametrize(
    ("typed", "entry"),
    [
        ("example.org", ".example.org"),
        (".example.org", ".example.org"),
        ("example.org.", ".example.org"),
        ("API.Example.ORG", ".api.example.org"),
        ("registry.packages.example", ".registry.packages.example"),
        ("my_host.example.org", ".my_host.example.org"),
        ("bücher.example", ".xn--bcher-kva.example"),
        ("BÜCHER.example", ".xn--bcher-kva.example"),
        ("例え.テスト", ".xn--r8jz45g.xn--zckzah"),
        ("example。org", ".example.org"),
        ("xn--bcher-kva.example", ".xn--bcher-kva.example"),
        ("amazon.co.uk", ".amazon.co.uk"),
        ("me.github.io", ".me.github.io"),
        ("github.io", ".github.io"),
        ("githubusercontent.com", ".githubusercontent.com"),
        ("1e100.net", ".1e100.net"),
        ("3.14.example", ".3.14.example"),
        (f"{'x' * 63}.example", f".{'x' * 63}.example"),
    ],
)
def test_a_domain_in_squids_form(typed: str, entry: str) -> None:
    assert normalise([typed]) == (entry,)


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("", "empty"),
        (".", "empty"),
        ("com", "everything"),
        (".com", "everything"),
        ("COM.", "everything"),
        ("co.uk", "everything"),
        ("xn--p1ai", "everything"),
        ("рф", "everything"),
        ("foo.ck", "everything"),
        ("localhost", "everything"),
        ("example", "everything"),
        ("127.0.0.1", "address"),
        ("\uff11\uff12\uff17.0.0.1", "address"),
        ("10.1", "address"),
        ("2130706433", "address"),
        ("0x7f000001", "address"),
        ("0x7f.0.0.0x1", "address"),
        ("0177.0.0.01", "address"),
        ("example.123", "address"),
        ("::1", "address"),
        ("[::1]", "address"),
        ("fe80::1%eth0", "address"),
        ("*.example.org", "wildcard"),
        ("*", "wildcard"),
        ("https://example.org", "page"),
        ("example.org/path", "page"),
        ("//example.org", "page"),
        ("example.org:443", "port"),
        ("user@example.org", "user name"),
        (" example.org", "white space"),
        ("example.org ", "white space"),
        ("example .org", "white space"),
        ("example.org\n", "white space"),
        ("example.org\nhttp_access allow all", "white space"),
        ("example.org\r\nhttp_port 1", "white space"),
        ("example.org\t.com", "white space"),
        ("example.org\x00", "white space"),
        ("example.org\x1b[2J", "white space"),
        ("example.org\u2028http_access allow all", "international"),
        ("example\u00a0.org", "international"),
        ("example.org#", "characters"),
        ("#example.org", "characters"),
        ('"/etc/passwd"', "page"),
        ('"example.org"', "characters"),
        ("'example.org'", "characters"),
        ("example.org\\", "characters"),
        ("${example}.org", "characters"),
        ("parameters(x).org", "characters"),
        ("example.org,example.net", "characters"),
        ("@whitelist@.org", "user name"),
        ("-n.example.org", "hyphen"),
        ("example-.org", "hyphen"),
        ("-n", "hyphen"),
        ("example..org", "empty part"),
        ("..example.org", "empty part"),
        ("example.org..", "empty part"),
        (f"{'x' * 64}.example", "too long"),
        (".".join(["x" * 60] * 5), "too long"),
        ("a.b\ud800.example", "international"),
    ],
)
def test_what_is_no_domain_is_refused(typed: str, fault: str) -> None:
    with pytest.raises(AtelierError) as refused:
        normalise(["example.org", typed])
    assert refused.value.code is Code.VALIDATION_ERROR
    assert refused.value.details["field"] == "domains[1]"
    assert refused.value.details["value"] == typed[:253]
    assert fault in refused.value.message
    assert refused.value.details["remedy"]
    assert not re.search(r"[\x00-\x1f\x7f]", refused.value.message)


def test_all_faults_are_told() -> None:
    with pytest.raises(AtelierError) as refused:
        normalise(["com", "example.org", "1.2.3.4", *["*"] * 40])
    invalid = refused.value.details["invalid"]
    assert isinstance(invalid, list)
    assert [entry["index"] for entry in invalid][:3] == [0, 2, 3]
    assert len(invalid) == 20
    assert "Further invalid entries: 41." in refused.value.message


def test_only_letters_digits_and_dots_come_out() -> None:
    """Random text of the alphabet that configuration files are made of: refused, or harmless."""
    dice = random.Random(4)  # noqa: S311 - texts, not secrets
    alphabet = string.ascii_letters + "0123456789.-_ \n\r\t#\"'\\@$(){}/:*,;%\x00\u2028éß。"
    for _ in range(5000):
        text = "".join(dice.choices(alphabet, k=dice.randint(1, 20)))
        try:
            (entry,) = normalise([f"{text}.example.org"])
        except AtelierError:
            continue
        assert re.fullmatch(r"(\.[a-z0-9_-]+)+", entry), text
        assert entry.endswith(".example.org")


def test_covered_and_repeated_domains_are_left_out() -> None:
    typed = ["api.anthropic.com", "anthropic.com", "Anthropic.com.", "notanthropic.com", "a.b.c.example", "b.c.example"]
    assert normalise(typed) == (".anthropic.com", ".b.c.example", ".notanthropic.com")


def test_too_many() -> None:
    with pytest.raises(AtelierError, match=str(MAX_DOMAINS)):
        normalise([f"x{number}.example" for number in range(MAX_DOMAINS + 1)])
    full = tuple(f".x{number}.example" for number in range(MAX_DOMAINS))
    with pytest.raises(AtelierError, match=str(MAX_DOMAINS)):
        plan_whitelist(full, (".one.more",), WhitelistMode.PRESENT)


def test_five_thousand_take_no_time() -> None:
    typed = [f"Host{number}.organisation-{number % 997}.example.com" for number in range(5000)]
    begin = time.process_time()
    entries = plan_whitelist((), normalise(typed), WhitelistMode.EXACT, BASE)
    assert Configuration.composed("@whitelist@\n", entries).entries == entries
    assert time.process_time() - begin < 2


def test_covering() -> None:
    entries = {".example.org", ".a.b.example"}
    assert covering(entries, ".example.org") == ".example.org"
    assert covering(entries, ".x.y.example.org") == ".example.org"
    assert covering(entries, ".example.org", itself=False) is None
    assert covering(entries, ".b.example") is None
    assert covering(entries, ".badexample.org") is None


def test_present_adds_and_keeps() -> None:
    assert plan_whitelist((".a.org",), (".x.b.org",), WhitelistMode.PRESENT) == (".a.org", ".x.b.org")
    assert plan_whitelist((".x.b.org",), (".b.org",), WhitelistMode.PRESENT) == (".b.org",)
    assert plan_whitelist((".b.org",), (".x.b.org",), WhitelistMode.PRESENT) == (".b.org",)
    assert plan_whitelist((), (), WhitelistMode.PRESENT, BASE) == BASE


def test_exact_replaces_but_for_the_base() -> None:
    assert plan_whitelist((".a.org",), (".b.org",), WhitelistMode.EXACT) == (".b.org",)
    assert plan_whitelist((".a.org", *BASE), (), WhitelistMode.EXACT, BASE) == BASE
    assert ".apt.debian.org" not in plan_whitelist((), (".apt.debian.org",), WhitelistMode.EXACT, BASE)


def test_absent_takes_a_domain_and_all_below_it() -> None:
    assert plan_whitelist((".a.org", ".x.b.org"), (".b.org",), WhitelistMode.ABSENT) == (".a.org",)
    assert plan_whitelist((".a.org",), (".b.org",), WhitelistMode.ABSENT) == (".a.org",)


@pytest.mark.parametrize(
    ("named", "reason"),
    [(".debian.org", "always"), (".x.debian.org", "always"), (".x.a.org", "below .a.org")],
)
def test_absent_refuses_what_would_stay_allowed(named: str, reason: str) -> None:
    with pytest.raises(AtelierError, match=reason) as refused:
        plan_whitelist((".a.org",), (named,), WhitelistMode.ABSENT, BASE)
    assert refused.value.details["value"] == named


def test_the_base_is_in_order_and_valid() -> None:
    assert normalise(BASE) == BASE
