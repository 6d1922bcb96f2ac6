"""Sanitizes untrusted text for terminals, logs, errors and pages."""

from __future__ import annotations

import re

# Cf has the marks that turn the direction of writing and those that nobody sees; by their ranges, as re knows no
# categories. Lone surrogates can't be written in UTF-8 at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CUT = "[...]"


def plain(text: str) -> str:
    """Replaces control characters (C0 and C1, of direction, invisible ones) by a visible mark. Line feeds and tabs
    stay; the end of a line as Windows writes it becomes a line feed."""
    return _UNSAFE.sub(_REPLACEMENT, text.replace("\r\n", "\n"))


def first_of(text: str, length: int) -> str:
    """The text's beginning, plain and without surrounding space. A cut text ends with a mark."""
    whole = plain(text[: 2 * length]).strip()
    return whole if len(text) <= 2 * length and len(whole) <= length else f"{whole[: length - len(_CUT)]}{_CUT}"


def last_of(text: str, length: int) -> str:
    """The text's end, plain and without surrounding space, since programs print errors last. A cut text begins with a
    mark."""
    whole = plain(text[-2 * length :]).strip()
    return whole if len(text) <= 2 * length and len(whole) <= length else f"{_CUT}{whole[len(_CUT) - length :]}"


def on_one_line(text: str) -> str:
    """The text with each run of white space as a single space."""
    return " ".join(text.split())
