"""The pages' words: one file per language, chosen by the browser's Accept-Language header."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from atelier.common.messages import Message, read
from atelier.common.texts import TEXTS
from babel import Locale, UnknownLocaleError, negotiate_locale
from babel.numbers import format_decimal, get_decimal_symbol

FOLDER = Path(__file__).parent / "locales"
# The fallback language. Its file has no texts of the core, which are in atelier.common.texts.
ENGLISH = "en"
# Levels of a code: it and its parameters are one each. The deepest codes of the core hold three others.
_DEEPEST_CODE = 8
# Not those of addresses and versions.
_POINT = re.compile(r"(?<![\w.])(\d+)\.(?=\d+(?![\d.]))")
_PERCENT = re.compile(r"(?<=\d)%")
_BYTES = re.compile(r"(?<=\d )([KMGT]?i?)B\b")
# The parameters of the core's messages that are figures as text.
_FIGURES = ("figure", "free", "limit", "seconds", "size", "used")
_RANGE = re.compile(r"([a-z]{1,8}(?:-[a-z0-9]{1,8}){0,4}|\*)(?:;q=([01](?:\.[0-9]{1,3})?))?")


@dataclass(frozen=True)
class Words:
    """The texts of one language, by key."""

    language: str
    locale: Locale
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text with its {placeholders} filled. Raises KeyError for an unknown key."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, number: int) -> str:
        """The text for so many things, from ``key`` and the number's plural category in CLDR, with {count}."""
        return self(f"{key}.{self.locale.plural_form(number)}", count=format_decimal(number, locale=self.locale))

    def figure(self, text: str) -> str:
        """The text with its numbers and units as this language writes them: "58.0 MB" is "58,0 Mo" to some."""
        text = _BYTES.sub(rf"\1{self('unit.byte')}", _PERCENT.sub(" %", text))
        return _POINT.sub(rf"\1{get_decimal_symbol(self.locale)}", text)

    def translate(self, sentence: str) -> str:
        """Translates a core message by its code; a sentence without code is returned unchanged."""
        if not isinstance(sentence, Message):
            return sentence
        values = {
            name: self.translate(value) if isinstance(value, str) else value for name, value in sentence.params.items()
        }
        values |= {name: self.figure(values[name]) for name in _FIGURES if isinstance(values.get(name), str)}
        if "what" in values:  # one of the limits, which have words
            values["what"] = self.texts.get(f"limit.{values['what']}", values["what"])
        return self(f"told.{sentence.id}", **values)

    def translate_codes(self, codes: Any) -> Any:
        """Replaces each of a response's ``codes`` by its text; None for a code that this version does not know."""
        try:
            if isinstance(codes, list):
                return [self.translate_codes(each) for each in codes]
            if codes.keys() != {"id", "params"}:
                return {key: self.translate_codes(each) for key, each in codes.items()}
            # A text that quotes its parameter doubles its backslashes, so each level can double the size.
            return self.translate(read(codes)) if _depth(codes) <= _DEEPEST_CODE else None
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            return None

    def of(self, prefix: str) -> dict[str, str]:
        """The texts whose keys have this prefix, by the rest of the key."""
        return {key.removeprefix(prefix): text for key, text in self.texts.items() if key.startswith(prefix)}


def _depth(codes: Any) -> int:
    return 1 + max(map(_depth, codes.values()), default=0) if isinstance(codes, dict) else 0


def words(language: str) -> Words:
    """The texts of a language that has a file."""
    return languages()[language]


@cache
def languages() -> Mapping[str, Words]:
    """The texts of each language that has a file, by the file's name without its end."""
    return read_languages(FOLDER)


def read_languages(folder: Path) -> dict[str, Words]:
    """Reads the folder's languages. Raises ValueError naming all errors of a file: missing or extra entries, missing
    plural categories of CLDR, different placeholders."""
    english = {f"told.{id}": text for id, text in TEXTS.items()} | _read(folder / f"{ENGLISH}.json")
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            locale = Locale.parse(file.stem, sep="-")
        except (ValueError, UnknownLocaleError) as error:
            raise ValueError(f"{file}: its name is no language of CLDR, as fr.json and pt-br.json are") from error
        texts = english if file.stem == ENGLISH else _read(file)
        if faults := _faults(texts, _expected(english, locale)):
            raise ValueError(f"{file}: {'; '.join(faults)}")
        found[file.stem] = Words(file.stem, locale, texts)
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: not a JSON object: {error}") from error


def _expected(english: Mapping[str, str], locale: Locale) -> dict[str, str]:
    """The English text for each entry that a language must have. Entries with plurals are expected in the language's
    own plural categories."""
    expected: dict[str, str] = {}
    for key, text in english.items():
        counted, _, category = key.rpartition(".")
        if category == "other" and f"{counted}.one" in english:
            expected |= {f"{counted}.{each}": text for each in {*locale.plural_form.tags, "other"}}
        elif category != "one" or f"{counted}.other" not in english:
            expected[key] = text
    return expected


def _faults(texts: Mapping[str, Any], expected: Mapping[str, str]) -> list[str]:
    faults = [f"{key} is missing" for key in expected.keys() - texts.keys()]
    faults += [f"{key} is not an entry of English" for key in texts.keys() - expected.keys()]
    for key in expected.keys() & texts.keys():
        try:
            names = _placeholders(texts[key]) if texts[key].strip() else None
        except (AttributeError, ValueError):  # no text, or with a brace that is not closed
            names = None
        if names is None:
            faults.append(f"{key} is no text")
        elif names != (wanted := _placeholders(expected[key])):
            faults.append(f"{key} has the placeholders {sorted(names)}, not {sorted(wanted)}")
    return sorted(faults)


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def choose_language(accepted: str) -> str:
    """The language for an Accept-Language header: the most preferred available one."""
    weights: dict[str, float] = {}
    for part in accepted.lower().replace(" ", "").split(",")[:20]:
        if found := _RANGE.fullmatch(part):
            weights.setdefault(found[1], float(found[2] or 1))
    wanted = sorted((name for name, weight in weights.items() if weight > 0), key=weights.__getitem__, reverse=True)
    # Babel changes the case of names that it knows by an alias: pt-PT.
    return (negotiate_locale(wanted, languages(), sep="-") or ENGLISH).lower()
