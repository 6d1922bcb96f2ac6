"""Looks at running workspaces again and again, and stops those that nobody uses or whose workshop is over."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import logging
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from atelier.claims import pool
from atelier.expiry import Signs, extensions, is_due
from atelier.model import IDE_PORT, Workspace

from .access import Caller
from .changes import begin
from .deps import Services

log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
_LOOKS_PER_TIMEOUT = 4
_ASKERS = 8
_ESTABLISHED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h, as /proc/net/tcp writes it
_CALLER = Caller("127.0.0.1", "expiry")


class Expiry:
    """Runs as a task for as long as the API does; nothing to do where neither a timeout nor an end is set."""

    def __init__(self, platform: Services) -> None:
        self._platform = platform
        minutes = platform.settings.workspace_timeout_minutes
        self._idle = timedelta(minutes=minutes) if minutes else None
        self._end = platform.settings.workshop.end
        self._since = datetime.now(UTC)
        self._used: dict[str, datetime] = {}
        self._stopping: set[str] = set()

    async def run(self) -> None:
        if self._idle is None and self._end is None:
            return
        wait = min(_EVERY_SECONDS, self._idle.total_seconds() / _LOOKS_PER_TIMEOUT) if self._idle else _EVERY_SECONDS
        while True:
            try:
                if self._platform.watcher.available:
                    await self._look()
            except Exception:  # the boundary: a look that fails must not be the last one
                log.exception("no workspace was looked at for expiry")
            await asyncio.sleep(wait)

    async def _look(self) -> None:
        platform = self._platform
        rows = {row.id: row for row in platform.reads.all()}
        running = {
            id: seen.started_at
            for id, seen in platform.watcher.seen.items()
            if id in rows and seen.container.status == "running" and id not in self._stopping
        }
        connections = _connections(await asyncio.to_thread(Path("/proc/net/tcp").read_text))
        heartbeats = await asyncio.to_thread(_heartbeats, [rows[id] for id in running]) if self._idle else {}
        kept = extensions(platform.reads)
        seats = {row.id for row in pool(list(rows.values()), platform.settings.workshop.group)}
        moment = datetime.now(UTC)
        self._used = {id: used for id, used in self._used.items() if id in running}
        for id, started_at in running.items():
            usage = platform.sampler.usage.get(id)
            signs = Signs(
                started_at=datetime.fromisoformat(started_at[:19]).replace(tzinfo=UTC),
                last_use=max(filter(None, (heartbeats.get(id), self._used.get(id))), default=None),
                connections=connections[rows[id].address],
                cpu_cores=usage.cpu if usage else 0.0,
                extended_until=kept.get(id),
            )
            if signs.in_use:
                self._used[id] = moment
            end = self._end if id in seats else None
            if reason := is_due(signs, moment, idle=self._idle, end=end, watched_since=self._since):
                await self._stop(rows[id], reason)

    async def _stop(self, row: Workspace, reason: str) -> None:
        platform = self._platform
        self._stopping.add(row.id)
        log.info("stopping %s (%s): %s", row.id, row.name, reason)
        job = await asyncio.to_thread(platform.jobs.open, "stop", [row.id], {}, _CALLER.name)
        begin(platform, _CALLER, job).add_done_callback(lambda _: self._stopping.discard(row.id))


def _connections(table: str) -> Counter[str]:
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


def _heartbeats(rows: Iterable[Workspace]) -> Mapping[str, datetime]:
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
