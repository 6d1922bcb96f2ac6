"""Escapes untrusted text for a Markdown document, so that it cannot end its block or become markup.

Source: CommonMark, "Fenced code blocks" and "Code spans".
"""

from __future__ import annotations

import re

# Line and page breaks of other kinds, and characters that no editor shows.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BACKTICKS = re.compile(r"`+")


def fenced(text: str, *, limit: int) -> list[str]:
    """The lines of a code block with the text's first ``limit`` characters, after an empty line."""
    shown = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(shown) > limit:
        shown = f"{shown[:limit]}\n[... {len(shown) - limit} more characters]"
    fence = "`" * max(3, _longest_run(shown) + 1)
    return ["", f"{fence}text", *shown.split("\n"), fence]


def code(text: str, *, limit: int = 200) -> str:
    """A code span of one line."""
    shown = " ".join(_CONTROL.sub("", text).split())[:limit]
    if not shown:
        return "(none)"
    fence = "`" * (_longest_run(shown) + 1)
    return f"{fence} {shown} {fence}" if shown[0] == "`" or shown[-1] == "`" else f"{fence}{shown}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
