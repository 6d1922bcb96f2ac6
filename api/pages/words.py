"""The pages' words: one file a language, chosen by what the browser says its reader understands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from atelier.messages import Message
from atelier.texts import TEXTS

_FOLDER = Path(__file__).parent / "words"
# The first is for readers of any other language.
LANGUAGES = ("en", "de")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_RANGE = re.compile(r"([a-z]{1,8}|\*)(?:-[a-z0-9-]{1,40})?(?:;q=([01](?:\.[0-9]{1,3})?))?")


@dataclass(frozen=True)
class Words:
    """One language's texts, by key."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text, with its {placeholders} filled. Raises KeyError for a key that there is none of."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, number: int) -> str:
        """The text for so many things: of ``key.one`` or ``key.other``, with {count}."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", count=number)

    def figure(self, text: str) -> str:
        """The text with its numbers as this language writes them: "58.0 MB" is "58,0 MB" to some."""
        return _POINT.sub(self.texts["decimal"], text)

    def told(self, sentence: str) -> str:
        """A sentence of the core's in this language; as it is where it has no code, as those of older versions."""
        if not isinstance(sentence, Message):
            return sentence
        values = {
            name: self.told(value) if isinstance(value, str) else value for name, value in sentence.params.items()
        }
        if "what" in values:  # one of the limits, which have words
            values["what"] = self.texts.get(f"limit.{values['what']}", values["what"])
        return self(f"told.{sentence.id}", **values)

    def of(self, prefix: str) -> dict[str, str]:
        """The texts whose keys begin so, by what follows the beginning."""
        return {key.removeprefix(prefix): text for key, text in self.texts.items() if key.startswith(prefix)}


@cache
def words(language: str) -> Words:
    """The texts of the language's file. English ones for the core's sentences are the core's own."""
    texts = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    own = {f"told.{id}": text for id, text in TEXTS.items()} if language == LANGUAGES[0] else {}
    return Words(language, own | texts)


def choose_language(accepted: str) -> str:
    """The language for an Accept-Language header: the reader's favourite of those that there are."""
    best, best_weight = LANGUAGES[0], 0.0
    for part in accepted.lower().replace(" ", "").split(",")[:20]:
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        language = LANGUAGES[0] if found[1] == "*" else found[1]
        weight = float(found[2] or 1)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best
