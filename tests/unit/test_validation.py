"""Validation of input, as tables of valid and invalid values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from atelier.common import validation
from atelier.common.errors import AtelierError, Code
from atelier.common.models import Limits, ProxyMode
from support import quotas, refused


@pytest.mark.parametrize("name", ["abc", "a" * 50, "Base-1_x", "___", "---", "123"])
def test_names_that_pass(name: str) -> None:
    assert validation.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 51, "has space", "ümlaut", "dots.no", "a/b", "abc\n", "$(id)", "a'b", "a\x00b", "абв"]
)
def test_names_that_do_not(name: str) -> None:
    with pytest.raises(AtelierError) as error:
        validation.check_name(name)
    assert "3 to 50" in refused(error, Code.INVALID_PROJECT_NAME, "name")


@pytest.mark.parametrize("name", ["a", "Base 1", "a" * 100, "x  y"])
def test_titles_that_pass(name: str) -> None:
    assert validation.check_title(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a" * 101, "a\tb", "a.b", "a\n"])
def test_titles_that_do_not(name: str) -> None:
    with pytest.raises(AtelierError) as error:
        validation.check_title(name, "names")
    refused(error, Code.INVALID_PROJECT_NAME, "names")


@pytest.mark.parametrize("password", ["12345678", "x" * 50, "mit Leerzeichen", "pässwörter", "'\"\\$`{{ x }}"])
def test_passwords_that_pass(password: str) -> None:
    assert validation.check_password(password) == password


@pytest.mark.parametrize("password", ["", "1234567", "x" * 51, "line\nbreak", "nul\x00nul", "tab\ttab", "del\x7fdel"])
def test_passwords_that_do_not_and_are_not_repeated(password: str) -> None:
    with pytest.raises(AtelierError) as error:
        validation.check_password(password)
    message = refused(error, Code.INVALID_PASSWORD, "password")
    assert not password or password not in message
    assert password not in map(str, error.value.details.values())


@pytest.mark.parametrize(
    ("memory", "cpus", "field"),
    [("3g", "2", "memory"), ("2G", "2", "memory"), ("", "2", "memory"), ("2g", "3", "cpus"), ("2g", "2.0", "cpus")],
)
def test_limits_that_are_not_on_offer(memory: str, cpus: str, field: str) -> None:
    with pytest.raises(AtelierError) as error:
        validation.check_limits(memory, cpus, quotas())
    message = refused(error, Code.VALIDATION_ERROR, field)
    assert ("1g, 2g, 4g, 8g, 16g" if field == "memory" else "1, 2, 4, 8") in message


def test_limits_above_the_ceiling() -> None:
    ceiling = quotas(cpus=2, memory_mb=4096)
    assert validation.check_limits("4g", "2", ceiling) == Limits("4g", "2")
    with pytest.raises(AtelierError) as error:
        validation.check_limits("8g", "2", ceiling)
    assert "4096 MB" in refused(error, Code.VALIDATION_ERROR, "memory")
    with pytest.raises(AtelierError) as error:
        validation.check_limits("4g", "4", ceiling)
    refused(error, Code.VALIDATION_ERROR, "cpus")


@pytest.mark.parametrize("count", [1, 50])
def test_counts_that_pass(count: int) -> None:
    assert validation.check_count(count) == count


@pytest.mark.parametrize("count", [-1, 0, 51, 10**9])
def test_counts_that_do_not(count: int) -> None:
    with pytest.raises(AtelierError) as error:
        validation.check_count(count)
    assert "1 to 50" in refused(error, Code.VALIDATION_ERROR, "count")


@pytest.mark.parametrize(
    ("check", "value", "code", "field"),
    [
        (validation.check_id, "0123456789AB", Code.VALIDATION_ERROR, "id"),
        (validation.check_id, "0123456789abc", Code.VALIDATION_ERROR, "id"),
        (validation.check_template, "../etc", Code.INVALID_PROJECT_TYPE, "template"),
        (validation.check_template, "UPPER", Code.INVALID_PROJECT_TYPE, "template"),
        (validation.check_group, "", Code.VALIDATION_ERROR, "group"),
        (validation.check_group, "g" * 51, Code.VALIDATION_ERROR, "group"),
        (validation.check_group, "a;b", Code.VALIDATION_ERROR, "group"),
        (validation.check_notes, "ü" * 5121, Code.VALIDATION_ERROR, "notes"),
    ],
)
def test_other_values_that_do_not(check: Callable[[str], str], value: str, code: Code, field: str) -> None:
    with pytest.raises(AtelierError) as error:
        check(value)
    refused(error, code, field)


def test_other_values_that_pass() -> None:
    assert validation.check_id("0123456789ab")
    assert validation.check_template("python-flask")
    assert validation.check_group("Spring School_1")
    assert validation.check_notes("ü" * 5120)


def test_a_proxy_mode_without_a_network() -> None:
    assert validation.check_proxy_mode("none", [ProxyMode.NONE]) is ProxyMode.NONE
    for mode in ("security", "carrier-pigeon", ""):
        with pytest.raises(AtelierError) as error:
            validation.check_proxy_mode(mode, [ProxyMode.NONE])
        assert f"The proxy mode {mode} " in refused(error, Code.VALIDATION_ERROR, "proxy_mode")
