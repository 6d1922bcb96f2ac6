"""Activity of workspaces: their IDEs' heartbeats and open connections."""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from atelier.containers.container import health
from atelier.containers.seat_http import DIRECT, SeatRoute

_ESTABLISHED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h, as /proc/net/tcp writes it


def connections() -> Counter[str]:
    """The number of this host's open connections to each address."""
    return connections_in(Path("/proc/net/tcp").read_text())


def connections_in(table: str) -> Counter[str]:
    """Open connections of a machine, its gateway's among them, by the address that they lead to: from the text of
    /proc/net/tcp (proc(5))."""
    found: Counter[str] = Counter()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED:
            # The address is the number in the machine's own byte order.
            packed = struct.pack("=I", int(fields[2].partition(":")[0], 16))
            found[str(ipaddress.IPv4Address(packed))] += 1
    return found


def heartbeat(address: str, route: SeatRoute = DIRECT) -> datetime | None:
    """Time of the IDE's last use, as it reports itself. Takes at most two seconds."""
    answer = health(address, route)
    document = answer.document() if answer else None
    milliseconds = document.get("lastHeartbeat") if isinstance(document, dict) else None
    if not isinstance(milliseconds, int | float) or not 0 < milliseconds < 1e14:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
