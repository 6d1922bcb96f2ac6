"""Names of internet domains, as people type them and as Squid's ``dstdomain`` wants them.

Whatever passes here goes into a configuration file, so the alphabet of what is accepted is closed: letters, digits,
hyphens, underscores and dots.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# RFC 1035, 2.3.4: octets of a label and of a name (without the final dot).
_LABEL_LENGTH = 63
_NAME_LENGTH = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
# What the C library takes for (part of) an IPv4 address, whatever the base: 10, 010, 0xa.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN_CHARACTERS = 80


class NotADomain(ValueError):
    """Why a text is not a valid domain; ``remedy`` says what to write instead."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.remedy = remedy


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
        raise NotADomain(
            "is too long", f"A domain has at most {_NAME_LENGTH} characters, each of its parts at most {_LABEL_LENGTH}."
        )
    if _NUMBER.fullmatch(labels[-1]):
        raise NotADomain("is an address, not a name", "Name the domain; addresses can't be allowed.")
    if len(labels) == 1 or public_suffixes().is_public(name):
        raise NotADomain(
            "would allow everything that ends with it", "Name a domain below it, such as example." + name + "."
        )
    return name


def shown(text: str) -> str:
    """The text for a message: quoted, its odd characters escaped, and not endless."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _to_ascii(text: str) -> str:
    import idna

    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise NotADomain(
            f"is not an international domain name ({str(error).rstrip('.')})", "Correct its spelling."
        ) from error


@cache
def public_suffixes() -> PublicSuffixList:
    # Imported here, because reading the list takes 0.07 s, needed only to check names.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)


def _explained(text: str, name: str, labels: list[str]) -> NotADomain:
    """What of the text is wrong, in the order in which a person would see it."""
    if not name:
        return NotADomain("is empty", "Leave it out, or name a domain.")
    if any(character.isspace() or not character.isprintable() for character in text):
        return NotADomain("holds white space or control characters", "Give each domain as an entry of its own.")
    if "*" in name:
        return NotADomain("holds a wildcard", "Omit it: a domain always includes its subdomains.")
    if "://" in name or "/" in name:
        return NotADomain("is an address of a page", "Give the domain alone, without https:// and path.")
    if name.count(":") > 1 or name.startswith("["):
        return NotADomain("is an address, not a name", "Name the domain; addresses can't be allowed.")
    if ":" in name:
        return NotADomain("holds a port", "Give the domain alone; the ports are the platform's own setting.")
    if "@" in name:
        return NotADomain("holds a user name", "Give the domain alone.")
    if "" in labels:
        return NotADomain("holds an empty part", "Put one dot between two parts.")
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return NotADomain("has a part that begins or ends with a hyphen", "Correct its spelling.")
    return NotADomain(
        "holds characters that no domain has", "Use letters, digits, hyphens and dots, such as example.org."
    )
