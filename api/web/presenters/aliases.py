"""The ports of a workspace as its page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...schemas.aliases import OpenPort


def ports(found: Sequence[OpenPort], shared: Sequence[int]) -> list[dict[str, Any]]:
    """The open and the shared ports, with the key of the words for who may open each. A port that only the workspace
    can reach has no address."""
    open_ports = {entry["port"]: entry for entry in found}
    return [
        {
            "number": port,
            "url": open_ports[port]["url"] if port in open_ports and open_ports[port]["reachable"] else "",
            "shared": port in shared,
            "access": _access(open_ports.get(port), port in shared),
        }
        for port in sorted({*open_ports, *shared})
    ]


def _access(entry: OpenPort | None, shared: bool) -> str:
    if entry is not None and not entry["reachable"]:
        return "ports.local"
    if shared:
        return "ports.shared"
    return "ports.password" if entry is not None and entry["passwordRequired"] else "ports.people"
