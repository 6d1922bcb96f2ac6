"""Aliases and open ports of a workspace as its page shows them: the API's answers and words in, plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...schemas.aliases import AliasView, OpenPort
from ..i18n import Words


def aliases(found: Sequence[AliasView], translator: Words) -> list[dict[str, Any]]:
    return [
        {
            **alias,
            "port_word": translator("aliases.port", port=alias["port"]),
            "access": translator("aliases.guarded", user=alias["user"])
            if alias["basicAuth"]
            else translator("aliases.open"),
            # A form treats an empty text as false.
            "guarded": "true" if alias["basicAuth"] else "",
        }
        for alias in found
    ]


def ports(found: Sequence[OpenPort], shared: Sequence[int], status: str, translator: Words) -> dict[str, Any]:
    """The open and the shared ports, and a sentence if none is open. A port that only the workspace can reach has no
    address."""
    open_ports = {entry["port"]: entry for entry in found}
    return {
        "rows": [
            {
                "number": port,
                "word": translator("aliases.port", port=port),
                "url": open_ports[port]["url"] if port in open_ports and open_ports[port]["reachable"] else "",
                "shared": port in shared,
                "access": _access(open_ports.get(port), port in shared, translator),
            }
            for port in sorted({*open_ports, *shared})
        ],
        "empty": "" if found else translator("ports.none" if status == "running" else "ports.asleep"),
    }


def _access(entry: OpenPort | None, shared: bool, translator: Words) -> str:
    """Describes who may open the port."""
    if entry is not None and not entry["reachable"]:
        return translator("ports.local")
    if shared:
        return translator("ports.shared")
    return translator("ports.password" if entry is not None and entry["passwordRequired"] else "ports.people")
