"""Whitelist, recorded domains, proxy log and conversations, as the pages show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from atelier.common.timestamps import timestamp
from atelier.egress.squid_log import LogEntry
from atelier.egress.whitelist import allowable, covering

from ...monitoring.seat_activity import host_of
from ..i18n import Words
from . import options

# Maximum length of a shown message; the document has it in full.
_EXCERPT = 2000


def whitelist_form(
    everybody: Sequence[str],
    lists: Mapping[str, Sequence[str]],
    base: Sequence[str],
    group: str,
    groups: Sequence[str],
    translator: Words,
) -> dict[str, Any]:
    """The form for everybody's or a group's list. The base domains are shown, but cannot be edited."""
    domains = lists.get(group, ()) if group else [domain for domain in everybody if domain not in base]
    labels = {name: name for name in sorted({*groups, *lists})}
    return {
        "domains": "\n".join(domain.removeprefix(".") for domain in domains),
        "count": translator.count("whitelist.domains", len(domains)),
        "base": [] if group else [domain.removeprefix(".") for domain in base],
        "group": group,
        "options": options({"": translator("whitelist.everybody"), **labels}, group),
    }


def domain_categories(
    found: Mapping[str, Sequence[Mapping[str, Any]]], allowed: Collection[str] | None, translator: Words
) -> list[dict[str, Any]]:
    """Recorded domains by category, the most requested first. ``allowed``: a set of the whitelist's entries for the
    workspace; None if there is no whitelist."""
    return [
        {
            "name": translator.texts.get(f"category.{name}", name),
            "domains": [
                {**entry, **_allowing(entry["domain"], allowed, translator)}
                for entry in sorted(entries, key=lambda entry: -entry["count"])
            ],
        }
        for name, entries in found.items()
    ]


def log_rows(logs: Sequence[LogEntry], allowed: Collection[str], translator: Words) -> list[dict[str, Any]]:
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
                "at": _moment(entry.timestamp),
                "method": entry.method,
                "url": entry.url,
                "denied": denied,
                "outcome": translator("log.denied" if denied else "log.allowed"),
                "status": entry.status,
                "bytes": entry.bytes,
                "domain": host,
                **_allowing(host, allowed if is_first else None, translator),
            }
        )
    return rows


def _allowing(domain: str, allowed: Collection[str] | None, translator: Words) -> dict[str, Any]:
    """Whether the domain can be whitelisted, and the text to show otherwise."""
    if allowed is None:
        return {"allows": False, "allowed_word": ""}
    entries, _ = allowable([domain])
    on_it = any(covering(allowed, entry) for entry in entries)
    return {"allows": bool(entries) and not on_it, "allowed_word": translator("domain.allowed") if on_it else ""}


def conversation_rows(conversations: Sequence[Mapping[str, Any]], translator: Words) -> list[dict[str, Any]]:
    """Each exchange with its last question and its answer; earlier messages are in earlier exchanges."""
    rows = []
    for entry in conversations:
        answer = entry.get("parsed_response") or {}
        messages = (entry.get("parsed_request") or {}).get("messages") or [{}]
        tokens = (answer.get("usage") or {}).get("total_tokens") or 0
        rows.append(
            {
                "timestamp": entry["timestamp"],
                "model": entry.get("model") or translator("conversation.no_model"),
                "url": entry.get("url") or "",
                "asked": _excerpt(messages[-1].get("content")),
                "answered": _excerpt(answer.get("content")),
                "tokens": translator("conversation.tokens", count=tokens) if tokens else "",
            }
        )
    return rows


def _excerpt(text: object) -> str:
    whole = text if isinstance(text, str) else ""
    return whole if len(whole) <= _EXCERPT else f"{whole[:_EXCERPT]} …"


def _moment(seconds: str) -> str:
    """Squid's seconds since 1970 as ISO 8601."""
    return timestamp(datetime.fromtimestamp(float(seconds), UTC), "seconds")
