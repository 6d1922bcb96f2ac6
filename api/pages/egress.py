"""Whitelist, recorded domains, proxy log and conversations, as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .words import Words

Json = Mapping[str, Any]
# What a message shows of itself; the document has it whole.
_EXCERPT = 2000


def whitelist_form(
    answer: Json, base: Sequence[str], group: str, groups: Sequence[str], reader: Words
) -> dict[str, Any]:
    """One list to edit: everybody's, or a group's. The base domains of the first are shown, not edited."""
    lists: Mapping[str, Sequence[str]] = answer["groups"]
    domains = lists.get(group, ()) if group else [domain for domain in answer["domains"] if domain not in base]
    names = sorted({*groups, *lists})
    return {
        "domains": "\n".join(domain.removeprefix(".") for domain in domains),
        "count": reader.count("whitelist.domains", len(domains)),
        "base": [] if group else [domain.removeprefix(".") for domain in base],
        "group": group,
        "options": [
            {"value": "", "label": reader("whitelist.everybody"), "selected": not group},
            *({"value": name, "label": name, "selected": name == group} for name in names),
        ],
    }


def domain_categories(answer: Json, reader: Words) -> list[dict[str, Any]]:
    """Recorded domains by category, the most asked for first."""
    return [
        {
            "name": reader.texts.get(f"category.{name}", name),
            "domains": [
                {"domain": entry["domain"], "count": entry["count"], "last_seen": entry["last_seen"]}
                for entry in sorted(entries, key=lambda entry: -entry["count"])
            ],
        }
        for name, entries in answer["categorized"].items()
    ]


def log_rows(logs: Sequence[Json], reader: Words) -> list[dict[str, Any]]:
    """Squid's log, newest first: what was asked for, when, and whether it was let through."""
    return [
        {
            "at": _moment(entry["timestamp"]),
            "method": entry["method"],
            "url": entry["url"],
            "denied": "DENIED" in entry["status"],
            "outcome": reader("log.denied" if "DENIED" in entry["status"] else "log.allowed"),
            "status": entry["status"],
            "bytes": entry["bytes"],
        }
        for entry in reversed(logs)
    ]


def conversation_rows(conversations: Sequence[Json], reader: Words) -> list[dict[str, Any]]:
    """Each exchange by its last question and its answer: what came before stands in the exchanges before it."""
    rows = []
    for entry in conversations:
        answer = entry.get("parsed_response") or {}
        messages = (entry.get("parsed_request") or {}).get("messages") or [{}]
        tokens = (answer.get("usage") or {}).get("total_tokens") or 0
        rows.append(
            {
                "timestamp": entry["timestamp"],
                "model": entry.get("model") or reader("conversation.no_model"),
                "url": entry.get("url") or "",
                "asked": _excerpt(messages[-1].get("content")),
                "answered": _excerpt(answer.get("content")),
                "tokens": reader("conversation.tokens", count=tokens) if tokens else "",
            }
        )
    return rows


def _excerpt(text: object) -> str:
    whole = text if isinstance(text, str) else ""
    return whole if len(whole) <= _EXCERPT else f"{whole[:_EXCERPT]} …"


def _moment(seconds: str) -> str:
    """Squid's seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(float(seconds), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
