"""Names of internet domains, as people type them and as Squid's ``dstdomain`` wants them.

Accepted names are written to a configuration file, so only letters, digits, hyphens, underscores and dots are accepted.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from ..common.messages import Message

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# RFC 1035, 2.3.4: octets of a label and of a name (without the final dot).
_LABEL_LENGTH = 63
_NAME_LENGTH = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
# The notations in which the C library accepts (a part of) an IPv4 address: 10, 010, 0xa.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN_CHARACTERS = 80


class NotADomain(ValueError):
    """A text that is not a valid domain. The remedy of ``fault`` says what to write instead."""

    def __init__(self, id: str, **params: object) -> None:
        self.fault = Message(f"domain.{id}", **params)
        super().__init__(self.fault)


def normalised(text: str) -> str:
    """The domain in lower case and punycode, without dots at its ends. Raises NotADomain.

    Refuses invalid names and too broad ones: public suffixes (``com``, ``co.uk``). A suffix that belongs to one
    organisation (``github.io``) is allowed. Source: the ICANN section of the Public Suffix List, as bundled with the
    library.
    """
    name = text.lower() if text.isascii() else _to_ascii(text)
    name = name.removeprefix(".").removesuffix(".")
    labels = name.split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        raise _explained(text, name, labels)
    if len(name) > _NAME_LENGTH or max(map(len, labels)) > _LABEL_LENGTH:
        raise NotADomain("too_long", most=_NAME_LENGTH, most_of_part=_LABEL_LENGTH)
    if _NUMBER.fullmatch(labels[-1]):
        raise NotADomain("address")
    if len(labels) == 1 or public_suffixes().is_public(name):
        raise NotADomain("too_broad", name=name)
    return name


def shown(text: str) -> str:
    """The text for a message: quoted, its odd characters escaped, and not endless."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _to_ascii(text: str) -> str:
    import idna

    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise NotADomain("not_international", why=str(error).rstrip(".")) from error


@cache
def public_suffixes() -> PublicSuffixList:
    # Imported here, because reading the list takes 0.07 s, needed only to check names.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)


def _explained(text: str, name: str, labels: list[str]) -> NotADomain:
    """The fault in the text, checked in the order in which a person would notice it."""
    faults = {
        "empty": not name,
        "space": any(character.isspace() or not character.isprintable() for character in text),
        "wildcard": "*" in name,
        "page": "/" in name,
        "address": name.count(":") > 1 or name.startswith("["),
        "port": ":" in name,
        "user": "@" in name,
        "empty_part": "" in labels,
        "hyphen": any(label.startswith("-") or label.endswith("-") for label in labels),
    }
    return NotADomain(next((id for id, found in faults.items() if found), "characters"))
