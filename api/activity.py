"""Who uses which workspace now: what their IDEs say, and which connections are open."""

from __future__ import annotations

import http.client
import ipaddress
import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from atelier.model import IDE_PORT, Workspace

_ASKERS = 8
_ESTABLISHED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h, as /proc/net/tcp writes it


def connections() -> Counter[str]:
    """How many connections this host has open to each address."""
    return connections_in(Path("/proc/net/tcp").read_text())


def connections_in(table: str) -> Counter[str]:
    """Open connections of this host, the gateway's among them, by the address that they lead to: from the text of
    /proc/net/tcp (proc(5))."""
    found: Counter[str] = Counter()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED:
            # The address is the number in the machine's own byte order.
            packed = struct.pack("=I", int(fields[2].partition(":")[0], 16))
            found[str(ipaddress.IPv4Address(packed))] += 1
    return found


def heartbeats(rows: Iterable[Workspace]) -> Mapping[str, datetime]:
    """When each IDE was last used by somebody, as it says itself; those that don't answer or were never used are left
    out."""
    with ThreadPoolExecutor(_ASKERS) as askers:
        found = askers.map(lambda row: (row.id, _heartbeat(row.address)), rows)
        return {id: beat for id, beat in found if beat is not None}


def _heartbeat(address: str) -> datetime | None:
    try:
        with closing(http.client.HTTPConnection(address, IDE_PORT, timeout=2)) as connection:
            connection.request("GET", "/healthz")
            milliseconds = json.loads(connection.getresponse().read(65536)).get("lastHeartbeat")
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return None  # what answers there is the seat's business
    usable = isinstance(milliseconds, int | float) and 0 < milliseconds < 1e14
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if usable else None
