"""What goes on in seats right now: when the IDE was last used, when something was committed, what the proxy refused.

Asked of the seats themselves when somebody looks, all side by side, and remembered for a while: a page that many
helpers have open costs no more than one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import docker
import requests
import urllib3
from atelier.model import ProxyMode, Site, Workspace
from atelier.squid_log import recent

from .activity import heartbeats
from .presenter import timestamp
from .watcher import Watcher

_REMEMBERED_SECONDS = 15.0
_AT_ONCE = 8
_LOG_LINES = 200
_SHOWN_DOMAINS = 5
# By the seat's own git, which may be anything by now: it gets little time, and what it says is read as a time only.
_LAST_COMMIT = ["timeout", "2", "git", "-C", "/workspace", "log", "-1", "--format=%ct"]
_NO_DOCKER = (
    docker.errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)


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
        self._known: dict[str, tuple[float, Activity]] = {}
        self._turn = asyncio.Lock()

    async def of(self, rows: Sequence[Workspace]) -> Mapping[str, Activity]:
        """By workspace id. What is older than a quarter of a minute is asked anew; a seat that does not answer in two
        seconds has nothing to tell."""
        async with self._turn:
            fresh = time.monotonic() - _REMEMBERED_SECONDS
            due = [row for row in rows if self._known.get(row.id, (0.0,))[0] < fresh]
            found = await asyncio.to_thread(self._look, due) if due else []
            moment = time.monotonic()
            known = {row.id: self._known[row.id] for row in rows if row.id in self._known}
            self._known = known | {row.id: (moment, activity) for row, activity in zip(due, found, strict=True)}
            return {row.id: self._known[row.id][1] for row in rows}

    def _look(self, rows: Sequence[Workspace]) -> list[Activity]:
        with ExitStack() as held:
            api: docker.APIClient | None = None
            with suppress(*_NO_DOCKER):
                api = docker.APIClient(base_url=self._site.engine_url, version="auto", timeout=10)
                held.enter_context(closing(api))
            pool = held.enter_context(ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="activity"))
            running = [row for row in rows if self._runs(row)]
            beats = heartbeats(running)
            return list(pool.map(lambda row: self._activity(api, row, beats.get(row.id)), rows))

    def _runs(self, row: Workspace) -> bool:
        container = self._watcher.container(row.id)
        return container is not None and container.status == "running"

    def _activity(self, api: docker.APIClient | None, row: Workspace, beat: datetime | None) -> Activity:
        return Activity(
            timestamp(beat) if beat else None,
            _last_commit(api, self._site.container_name(row.id)) if api is not None and self._runs(row) else None,
            self._denied(row) if row.proxy_mode is ProxyMode.SECURITY else (),
        )

    def _denied(self, row: Workspace) -> Sequence[tuple[str, int]]:
        since = datetime.fromisoformat(row.created_at).timestamp()
        entries = recent(self._site.state_dir / "squid" / "log", row.address, _LOG_LINES, since=since)
        return denied_domains([(entry.status, entry.url) for entry in entries])


def denied_domains(requests_: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """The domains of refused requests (Squid's status and URL), those that were asked for most often first."""
    refused = Counter(host_of(url) for status, url in requests_ if "DENIED" in status)
    return refused.most_common(_SHOWN_DOMAINS)


def host_of(url: str) -> str:
    """The host in what Squid logs: a URL, or host and port of a tunnel."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or url[:200]
    except ValueError:
        return url[:200]


def moment_of(seconds: float) -> str | None:
    """Seconds since 1970 as ISO 8601; None for what can be no time of a seat's."""
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if 0 < seconds < 4e9 else None


def _last_commit(api: docker.APIClient, container: str) -> str | None:
    try:
        order = api.exec_create(container, _LAST_COMMIT, stdout=True, stderr=False)
        return moment_of(float(api.exec_start(order["Id"])[:32]))
    except (*_NO_DOCKER, ValueError):
        return None
