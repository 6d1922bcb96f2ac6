"""Text of strangers, before it is shown."""

from __future__ import annotations

import pytest
from atelier.common.plain_text import first_of, last_of, on_one_line, plain


@pytest.mark.parametrize(
    "unsafe",
    ["\x1b", "\x00", "\x07", "\x08", "\r", "\x7f", "\x9b", "\x85", "\u202e", "\u2066", "\u200f", "\u2028", "\ud800"],
)
def test_what_turns_or_hides_text_is_replaced(unsafe: str) -> None:
    assert plain(f"a{unsafe}b") == "a\ufffdb"


def test_what_people_write_stays() -> None:
    text = "Zoë\tmade\n日本語 完成 \N{FAMILY}"
    assert plain(text) == text
    assert plain("a\r\nb") == "a\nb"


def test_long_text_is_cut_with_a_mark() -> None:
    assert first_of(" " + "a" * 100, 10) == "aaaaa[...]"
    assert last_of("a" * 100 + "b ", 10) == "[...]aaaab"
    assert first_of("\x1b[2Jred ", 10) == "\ufffd[2Jred"
    assert last_of(" short", 10) == "short"
    assert len(last_of("a" * 10**6, 300)) == 300
    assert on_one_line(" a\n\tb ") == "a b"
