"""Whitelist, recorded domains, proxy log and conversations, as the pages show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from atelier.common.timestamps import timestamp
from atelier.egress.squid_log import LogEntry
from atelier.egress.whitelist import allowable, covering

from ...monitoring.seat_activity import host_of

# Maximum length of a shown message; the document has it in full.
_EXCERPT = 2000


def whitelist_form(
    everybody: Sequence[str],
    lists: Mapping[str, Sequence[str]],
    base: Sequence[str],
    group: str,
    groups: Sequence[str],
    for_all: str,
) -> dict[str, Any]:
    """The form for everybody's or a group's list. The base domains are shown, but cannot be edited. ``for_all``: the
    label of everybody's."""
    domains = lists.get(group, ()) if group else [domain for domain in everybody if domain not in base]
    return {
        "domains": [domain.removeprefix(".") for domain in domains],
        "base": [] if group else [domain.removeprefix(".") for domain in base],
        "group": group,
        "groups": {"": for_all, **{name: name for name in sorted({*groups, *lists})}},
    }


def domain_categories(
    found: Mapping[str, Sequence[Mapping[str, Any]]], allowed: Collection[str] | None
) -> dict[str, list[dict[str, Any]]]:
    """Recorded domains by category, the most requested first. ``allowed``: a set of the whitelist's entries for the
    workspace; None if there is no whitelist."""
    return {
        name: [
            {**entry, "allows": _allows(entry["domain"], allowed)}
            for entry in sorted(entries, key=lambda entry: -entry["count"])
        ]
        for name, entries in found.items()
    }


def log_rows(logs: Sequence[LogEntry], allowed: Collection[str]) -> list[dict[str, Any]]:
    """Squid's log, newest first: requests, times and results. The first line of a refused domain has a button to allow
    it; ``allowed``: a set of the whitelist's entries for the workspace."""
    rows: list[dict[str, Any]] = []
    offered: set[str] = set()
    for entry in reversed(logs):
        denied, host = "DENIED" in entry.status, host_of(entry.url)
        is_first = denied and host not in offered
        if denied:
            offered.add(host)
        rows.append(
            {
                "entry": entry,
                "at": timestamp(datetime.fromtimestamp(float(entry.timestamp), UTC), "seconds"),
                "denied": denied,
                "domain": host,
                "allows": _allows(host, allowed if is_first else None),
            }
        )
    return rows


def _allows(domain: str, allowed: Collection[str] | None) -> str:
    """``yes`` if the domain can be whitelisted, ``done`` if it is; else empty."""
    if allowed is None:
        return ""
    entries, _ = allowable([domain])
    if any(covering(allowed, entry) for entry in entries):
        return "done"
    return "yes" if entries else ""


def conversation_rows(conversations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each exchange with its last question and its answer; earlier messages are in earlier exchanges."""
    rows = []
    for entry in conversations:
        answer = entry.get("parsed_response") or {}
        messages = (entry.get("parsed_request") or {}).get("messages") or [{}]
        rows.append(
            {
                **entry,
                "asked": _excerpt(messages[-1].get("content")),
                "answered": _excerpt(answer.get("content")),
                "tokens": (answer.get("usage") or {}).get("total_tokens") or 0,
            }
        )
    return rows


def _excerpt(text: object) -> str:
    whole = text if isinstance(text, str) else ""
    return whole if len(whole) <= _EXCERPT else f"{whole[:_EXCERPT]} …"
