"""Activity of seats: last use of the IDE, last commit, refused domains.

Queried from the seats on demand, in parallel, and cached for a while, so that many open pages cost no more than one.
Nothing waits for a seat that does not answer: its last known values are shown, and it is queried less often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from atelier.common.egress_modes import Capability
from atelier.common.errors import AtelierError
from atelier.common.models import CONTROLLER, Site, Workspace
from atelier.common.plain_text import first_of
from atelier.common.timestamps import timestamp
from atelier.containers.container import health
from atelier.containers.engines import Engines
from atelier.containers.seat_http import DIRECT, SeatRoute
from atelier.egress.squid_log import last_requests, last_requests_on

from .docker_events import Watcher
from .seat_threads import SeatThreads

log = logging.getLogger(__name__)

_REMEMBERED_SECONDS = 15.0
_AT_ONCE = 16
# Maximum wait of a request. Later results are used by the next one.
_PATIENCE_SECONDS = 2.0
# A seat that gives no result within this time is queried again after 30 s, then 60 s, up to five minutes.
_SLOW_SECONDS = 1.5
_SHORTEST_PAUSE = 30.0
_LONGEST_PAUSE = 300.0
_LOG_LINES = 200
_SHOWN_DOMAINS = 5
_LONGEST_DOMAIN = 200
# Runs the workspace's own, untrusted git with a short timeout; only a timestamp is parsed from the output.
_LAST_COMMIT = ("/bin/sh", "-c", "exec git -C /workspace log -1 --format=%ct 2>/dev/null")
_COMMIT_SECONDS = 3.0
_DOCKER_SECONDS = 3
_LONGEST_TIME = 32

T = TypeVar("T")


@dataclass(frozen=True)
class Activity:
    """Times in ISO 8601, None where nothing is known; ``denied`` are the domains refused of late, by how often."""

    last_heartbeat: str | None = None
    last_commit: str | None = None
    denied: Sequence[tuple[str, int]] = ()


class Activities:
    """Lives in one event loop."""

    def __init__(self, site: Site, watcher: Watcher) -> None:
        self._site = site
        self._watcher = watcher
        self._engines = Engines(site, patience=_DOCKER_SECONDS)
        self._threads = SeatThreads(_AT_ONCE, "activity")
        self._beats = _Remembered(self._threads, self._beat)
        self._commits = _Remembered(self._threads, self._last_commit)
        self._denials = _Remembered(self._threads, self._denied)

    async def of(self, rows: Sequence[Workspace]) -> Mapping[str, Activity]:
        """Activities by workspace id. Values older than 15 seconds are queried again, for at most two seconds."""
        # The cheapest query first: a seat's heartbeat does not wait for the commits of others.
        asked = [*self._beats.refresh(rows), *self._denials.refresh(rows), *self._commits.refresh(rows)]
        if asked:
            await asyncio.wait(asked, timeout=_PATIENCE_SECONDS)
        beats, denials, commits = self._beats.known, self._denials.known, self._commits.known
        return {row.id: Activity(beats.get(row.id), commits.get(row.id), denials.get(row.id, ())) for row in rows}

    async def heartbeats(self, rows: Sequence[Workspace]) -> Mapping[str, datetime]:
        """Time of each IDE's last use, as it reports itself now; IDEs that do not answer are omitted."""
        asked = [self._threads.ask(("heartbeat", row.id), self._heartbeat, row) for row in rows]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return {row.id: beat for row, beat in zip(rows, found, strict=True) if isinstance(beat, datetime)}

    def close(self) -> None:
        self._threads.close()

    def _runs(self, row: Workspace) -> bool:
        container = self._watcher.seen.get(row.id)
        return container is not None and container.status == "running"

    def _heartbeat(self, row: Workspace) -> datetime | None:
        return heartbeat(row.address, self._engines.route(row.node))

    def _beat(self, row: Workspace) -> str | None:
        beat = self._heartbeat(row) if self._runs(row) else None
        return timestamp(beat) if beat else None

    def _last_commit(self, row: Workspace) -> str | None:
        if not self._runs(row):
            return None
        # No result without a commit, without Docker, or if its output is invalid.
        with suppress(AtelierError, ValueError, OverflowError):
            name = self._site.container_name(row.id)
            engine = self._engines.of(row.node)
            _, output = engine.execute(name, _LAST_COMMIT, seconds=_COMMIT_SECONDS, limit=_LONGEST_TIME)
            return moment_of(float(output))
        return None

    def _denied(self, row: Workspace) -> Sequence[tuple[str, int]] | None:
        if not row.proxy_mode.can(Capability.LOG):
            return None
        if row.node == CONTROLLER:
            entries = last_requests(self._site.state_dir, row, _LOG_LINES)
        else:
            try:
                entries = last_requests_on(self._site, self._engines.of(row.node), row, _LOG_LINES)
            except AtelierError:
                return None
        return denied_domains([(entry.status, entry.url) for entry in entries])


class _Remembered(Generic[T]):
    """The seats' last results, by workspace id in ``known``. ``look`` queries one seat, in a thread."""

    def __init__(self, threads: SeatThreads, look: Callable[[Workspace], T | None]) -> None:
        self._threads = threads
        self._look = look
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self.known: dict[str, T] = {}

    def refresh(self, rows: Sequence[Workspace]) -> list[asyncio.Future[None]]:
        """Starts the queries of seats that are due. Returns the running queries, including earlier ones."""
        moment, ids = time.monotonic(), {row.id for row in rows}
        for remembered in (self._due, self._pauses, self.known):
            for id in list(remembered):
                if id not in ids:
                    remembered.pop(id, None)
        # Fast seats first.
        due = sorted(
            (row for row in rows if self._due.get(row.id, 0.0) <= moment), key=lambda row: row.id in self._pauses
        )
        return [self._threads.begin((self, row.id), self._ask, row) for row in due]

    def _ask(self, row: Workspace) -> None:
        begin = time.monotonic()
        try:
            found = self._look(row)
        except Exception:  # the boundary: one seat's answer must not prevent the others' results
            log.exception("nothing is known of what goes on in %s", row.id)
            found = None
        moment = time.monotonic()
        if found is None and moment - begin > _SLOW_SECONDS:
            pause = min(self._pauses.get(row.id, _SHORTEST_PAUSE / 2) * 2, _LONGEST_PAUSE)
            self._pauses[row.id], self._due[row.id] = pause, moment + pause
            return
        self._pauses.pop(row.id, None)
        self._due[row.id] = moment + _REMEMBERED_SECONDS
        if found is not None:
            self.known[row.id] = found
        else:
            self.known.pop(row.id, None)


def heartbeat(address: str, route: SeatRoute = DIRECT) -> datetime | None:
    """Time of the IDE's last use, as it reports itself. Takes at most two seconds."""
    answer = health(address, route)
    document = answer.document() if answer else None
    milliseconds = document.get("lastHeartbeat") if isinstance(document, dict) else None
    if not isinstance(milliseconds, int | float) or not 0 < milliseconds < 1e14:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def denied_domains(requests_: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """The domains of refused requests (Squid's status and URL), those that were asked for most often first."""
    refused = Counter(host_of(url) for status, url in requests_ if "DENIED" in status)
    return refused.most_common(_SHOWN_DOMAINS)


def host_of(url: str) -> str:
    """The host of a URL in Squid's log, or of a tunnel's host and port."""
    try:
        host = urlsplit(url if "://" in url else f"//{url}").hostname or url
    except ValueError:
        host = url
    return first_of(host, _LONGEST_DOMAIN)


def moment_of(seconds: float) -> str | None:
    """Converts seconds since 1970 to ISO 8601; None for an impossible time."""
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if 0 < seconds < 4e9 else None
