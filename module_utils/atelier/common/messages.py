"""Sentences as codes with parameters. The text is rendered for the reader: in English from TEXTS, in other languages
from the pages' files.

A Message is a string, the English text, and knows its code and parameters. Plain data (a module's result, an answer, a
file) has them beside the text, under ``codes``; a column of the database has them in place of it. A sentence of an
older version has no code and is shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import reduce
from typing import Any

from .plain_text import plain
from .texts import TEXTS

_KEY = "codes"
_PLAIN = frozenset((str, int, float, bool, type(None)))
# What reading a code of another version, or of somebody else, raises.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


class Message(str):
    """The sentence of that code. Parameters may be messages themselves; texts in them are made safe to show. Raises
    KeyError for an unknown code and for a parameter that is missing."""

    id: str
    params: Mapping[str, Any]

    def __new__(cls, id: str, /, **params: object) -> Message:
        values = {name: _value(value) for name, value in params.items()}
        made = super().__new__(cls, TEXTS[id].format(**values))
        made.id, made.params = id, values
        return made

    @property
    def remedy(self) -> Message | None:
        """The message with the remedy, if there is a text for it."""
        key = f"{self.id}.remedy"
        return Message(key, **self.params) if key in TEXTS else None

    def data(self) -> dict[str, Any]:
        """The message as plain data."""
        values = {name: value.data() if isinstance(value, Message) else value for name, value in self.params.items()}
        return {"id": self.id, "params": values}

    def __reduce__(self) -> tuple[Any, ...]:
        return read, (self.data(),)


def id_of(text: str | None) -> str | None:
    """The code of a sentence; None for one that has none."""
    return text.id if isinstance(text, Message) else None


def as_message(text: str) -> Message:
    """The text as a message. One without a code, which an older version or another program wrote, is quoted."""
    return text if isinstance(text, Message) else Message("task_said", said=text)


def chain(id: str, messages: Iterable[Message]) -> Message:
    """Several as one, joined by a text that has ``first`` and ``then``."""
    return reduce(lambda first, then: Message(id, first=first, then=then), messages)


def tagged(value: Any) -> Any:
    """Plain data with the codes of its messages beside their texts, at any depth."""
    if isinstance(value, str):
        return str(value) if isinstance(value, Message) else value
    if isinstance(value, dict | Mapping):
        texts, codes = dict(value), {}
        for key, inner in value.items():
            if type(inner) not in _PLAIN:  # most are: a list of projects has ten thousand values
                texts[key] = tagged(inner)
                if (code := _code(inner)) is not None:
                    codes[key] = code
        return texts | {_KEY: codes} if codes else texts
    return [tagged(inner) for inner in value] if isinstance(value, list | tuple) else value


def untagged(value: Any) -> Any:
    """The opposite of ``tagged``. A text whose code this version does not know stays as it is."""
    if isinstance(value, list):
        return [untagged(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    codes = value.get(_KEY)
    if not isinstance(codes, dict):
        return {key: untagged(inner) for key, inner in value.items()}
    texts = {key: untagged(inner) for key, inner in value.items() if key != _KEY}
    return texts | {key: _restored(texts[key], code) for key, code in codes.items() if key in texts}


def stored(text: str) -> str:
    """The text for a column: a message as JSON, everything else as it is."""
    return json.dumps(text.data()) if isinstance(text, Message) else text


def restored(text: str | None) -> str | None:
    """Reverses ``stored``. Of a code that this version does not know the words and parameters are quoted, also within
    another; a remedy of such a code is left out."""
    if text is None or not text.startswith('{"id":'):
        return text
    with suppress(*_UNREADABLE):
        return _as_far_as_known(json.loads(text))
    return text


def _as_far_as_known(data: Mapping[str, Any]) -> str:
    params = data["params"].items()
    values = {name: _as_far_as_known(value) if isinstance(value, Mapping) else value for name, value in params}
    with suppress(*_UNREADABLE):
        return Message(data["id"], **values)
    if data["id"].endswith(".remedy"):
        return ""
    words = data["id"].replace("_", " ").replace(".", " ")
    told = "; ".join(f"{name}: {value}" for name, value in values.items())
    return Message("other_version_said", said=f"{words} ({told})" if told else words)


def _value(value: object) -> object:
    """Converts a value for JSON: large numbers to text, our exceptions to their message, others to text."""
    if isinstance(value, Exception) and value.args and isinstance(value.args[0], Message):
        return value.args[0]
    if value is None or isinstance(value, Message | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return plain(str(value))


def _code(value: object) -> object:
    """A message's code and parameters, or a list of them for a list of texts; None if there is none."""
    if isinstance(value, Message):
        return value.data()
    if isinstance(value, list | tuple) and any(isinstance(inner, Message) for inner in value):
        return [_code(inner) for inner in value]
    return None


def _restored(text: Any, code: Any) -> Any:
    if isinstance(text, list) and isinstance(code, list):
        return [_restored(*each) for each in zip(text, code, strict=False)] if len(text) == len(code) else text
    try:
        return read(code)
    except _UNREADABLE:
        return text


def read(data: Mapping[str, Any]) -> Message:
    """The message of ``Message.data``. Raises KeyError, TypeError, AttributeError or ValueError for anything else."""
    values = {name: read(value) if isinstance(value, Mapping) else value for name, value in data["params"].items()}
    return Message(data["id"], **values)
