"""Server-sent events, and streams of JSON values. Source: the HTML standard, "Event stream interpretation"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .plain_json import plain, read_json

_DONE = "[DONE]"


def events(text: str) -> Iterator[tuple[str, str]]:
    """Each event's name ("" when it has none) and data. One that was cut off before its blank line is left out."""
    name, data = "", list[str]()
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value


def json_events(text: str) -> Iterator[dict[str, Any]]:
    """The data of each event that is a JSON object; those that are not are left out. OpenAI's end mark is
    ``{"type": "[DONE]"}``. An event whose object names no type gets the event's name as its type."""
    for name, data in events(text):
        if data.strip() == _DONE:
            yield {"type": _DONE}
            continue
        try:
            value = read_json(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            if name and "type" not in value:
                value["type"] = name
            yield value


def json_values(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The objects of a JSON array, of lines, or of one object, as far as they are whole; and whether all were."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    position = 0
    is_array = text.lstrip().startswith("[")
    while True:
        while position < len(text) and text[position] in " \t\r\n,[":
            position += 1
        if position >= len(text):
            return found, not is_array
        if text[position] == "]":
            return found, True
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return found, False
        if isinstance(value, dict):
            found.append(plain(value))
