"""The whitelist's arithmetic: lists of domains.

An entry is ``.domain``, Squid's way to write "the domain and all below it". Nothing here touches a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from .domain_names import NotADomain, normalised, shown

# Always allowed: package sources of the system and extensions of the IDE, as in the HTTP contract.
BASE = (".debian.org", ".eclipsecontent.org", ".nodesource.com", ".open-vsx.org", ".openvsx.org", ".ubuntu.com")
# A longer list exceeds ansible-runner's limit for results (700,000 characters).
MAX_DOMAINS = 10_000
_FAULTS_SHOWN = 20


class WhitelistMode(StrEnum):
    """The wanted state of the named domains: present, absent, or the only entries (besides the base)."""

    PRESENT = "present"
    ABSENT = "absent"
    EXACT = "exact"


def normalise(domains: Sequence[str]) -> tuple[str, ...]:
    """The entries that allow these domains: sorted, each once, none below another.

    Raises VALIDATION_ERROR; its details name the first fault's ``field`` as ``domains[3]`` with its ``value``, and up
    to 20 faults in ``invalid``.
    """
    _check_size(domains)
    entries, faults = _parsed(domains)
    if faults:
        raise _refused(faults)
    return entries


def allowable(domains: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The entries for those of these names that can be allowed (recorded ones, say), and the names that can't."""
    entries, faults = _parsed(domains)
    return entries, tuple(text for _, text, _ in faults)


def _parsed(domains: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[int, str, NotADomain]]]:
    """The entries for the valid ones, and the others, each with its index and what is wrong with it."""
    entries: set[str] = set()
    faults: list[tuple[int, str, NotADomain]] = []
    for index, text in enumerate(domains):
        try:
            entries.add(f".{normalised(text)}")
        except NotADomain as fault:
            faults.append((index, text, fault))
    return without_covered(entries), faults


def without_covered(entries: Collection[str]) -> tuple[str, ...]:
    """The entries in order, without those that another entry allows already."""
    known = set(entries)
    return tuple(sorted(entry for entry in known if covering(known, entry, itself=False) is None))


def covering(entries: Collection[str], entry: str, *, itself: bool = True) -> str | None:
    """The entry that allows this one: itself, or one above it. ``entries`` should be a set."""
    start = 0 if itself else 1
    while (start := entry.find(".", start)) >= 0:
        if entry[start:] in entries:
            return entry[start:]
        start += 1
    return None


def plan_whitelist(
    present: Iterable[str], named: Sequence[str], state: WhitelistMode, base: Sequence[str] = ()
) -> tuple[str, ...]:
    """Computes the new entries. ``named`` are normalised; ``base`` are always included.

    ``absent`` removes a domain and all below it. Raises VALIDATION_ERROR for one that the base or a broader entry would
    still allow.
    """
    if state is not WhitelistMode.ABSENT:
        entries = without_covered({*named, *base, *(present if state is WhitelistMode.PRESENT else ())})
        _check_size(entries)
        return entries
    removed = set(named)
    kept = {entry for entry in {*present, *base} if covering(removed, entry) is None} | set(base)
    for entry in named:
        above = covering(kept, entry)
        if above is not None and above not in base:
            raise invalid("domain_below", "domains", entry=entry, value=entry, above=above)
        always = above or next((other for other in base if covering({entry}, other)), None)
        if always is not None:
            raise invalid("domain_always_allowed", "domains", entry=entry, value=entry, base=always)
    return without_covered(kept)


def _check_size(domains: Sequence[str]) -> None:
    if len(domains) > MAX_DOMAINS:
        raise invalid("input.too_many_domains", "domains", count=len(domains), most=MAX_DOMAINS)


def _refused(faults: Sequence[tuple[int, str, NotADomain]]) -> AtelierError:
    index, text, fault = faults[0]
    field = f"domains[{index}]"
    message = Message("domain.refused", field=field, value=shown(text), fault=fault.fault)
    if len(faults) > 1:
        message = Message("sentences", first=message, then=Message("domain.more_refused", count=len(faults) - 1))
    found = [
        {"index": index, "value": text[:253], "fault": fault.fault, "remedy": fault.fault.remedy}
        for index, text, fault in faults[:_FAULTS_SHOWN]
    ]
    value, remedy = text[:253], fault.fault.remedy
    return AtelierError(Code.VALIDATION_ERROR, message, field=field, value=value, remedy=remedy, invalid=found)
