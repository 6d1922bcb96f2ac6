"""Aliases and open ports of a workspace as its page shows them: the API's JSON and words in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .words import Words


def aliases(found: Sequence[Mapping[str, Any]], reader: Words) -> list[dict[str, Any]]:
    return [
        {
            "subdomain": alias["subdomain"],
            "url": alias["url"],
            "port": alias["port"],
            "port_word": reader("aliases.port", port=alias["port"]),
            "access": reader("aliases.guarded", user=alias["user"]) if alias["basicAuth"] else reader("aliases.open"),
            # What a form takes to mean no.
            "guarded": "true" if alias["basicAuth"] else "",
        }
        for alias in found
    ]


def ports(found: Sequence[Mapping[str, Any]], status: str, reader: Words) -> dict[str, Any]:
    """The open ports, and the sentence when there is none. One that only the workspace reaches has no address."""
    return {
        "rows": [
            {
                "number": entry["port"],
                "word": reader("aliases.port", port=entry["port"]),
                "url": entry["url"] if entry["reachable"] else "",
            }
            for entry in found
        ],
        "empty": "" if found else reader("ports.none" if status == "running" else "ports.asleep"),
    }
