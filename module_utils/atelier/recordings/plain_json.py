"""Converts untrusted JSON to JSON that every reader accepts.

Writers of JSON differ in what they refuse: integers beyond 64 bits, NaN, lone surrogates, hundreds of levels, millions
of names. The recorder writes with these rules (its plain_json.py is a link to this file); its older recordings are read
with them.
"""

from __future__ import annotations

import json
import math
from typing import Any

MOST_LEVELS = 40
MOST_VALUES = 200_000
LONGEST_NAME = 256
TOO_DEEP = "[... nested too deeply]"
TOO_MANY = "[... too many values]"
_LARGEST_INTEGER = 2**63 - 1


def plain(value: Any) -> Any:
    """The same value where it is plain. Numbers that are not become texts; what is too deep or too much is left out and
    a text says so."""
    return _plain(value, 0, [MOST_VALUES])


def read_json(text: str | bytes) -> Any:
    """The plain value of a JSON text. Raises ValueError or RecursionError for one that can't be read."""
    return plain(json.loads(text))


def _plain(value: Any, level: int, left: list[int]) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER else _digits(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if level >= MOST_LEVELS:
        return TOO_DEEP
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, inner in value.items():
            left[0] -= 1
            if left[0] < 0:
                found["..."] = TOO_MANY
                break
            found[_text(str(name)[:LONGEST_NAME])] = _plain(inner, level + 1, left)
        return found
    items: list[Any] = []
    for inner in value:
        left[0] -= 1
        if left[0] < 0:
            items.append(TOO_MANY)
            break
        items.append(_plain(inner, level + 1, left))
    return items


def _text(text: str) -> str:
    # Avoids checking each character if not needed, since texts are long.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python's limit of digits
        return hex(number)
