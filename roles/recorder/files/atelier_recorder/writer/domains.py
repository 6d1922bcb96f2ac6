"""Counts each workspace's requests per domain, with the times of the first and the last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..timestamps import iso
from .files import replace

FILE = "domains.json"
# More than any person's day of work has; a program that makes up names must not fill memory and disk.
_MOST_DOMAINS = 10_000
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?|[0-9a-f:]{2,45}")


class Domains:
    """Counts in memory, written by ``flush``."""

    def __init__(self, recordings: Path) -> None:
        self._recordings = recordings
        self._known: dict[str, dict[str, dict[str, Any]]] = {}
        self._pending: dict[str, dict[str, list[int]]] = {}

    def count(self, workspace: str, host: str, now: int) -> None:
        """Counts a request for the host at ``now`` (milliseconds). Invalid host names are ignored."""
        name = host.lower().strip("[]").rstrip(".")
        if not _HOST.fullmatch(name):
            return
        hosts = self._pending.setdefault(workspace, {})
        if name in hosts:
            hosts[name][0] += 1
            hosts[name][2] = now
        elif len(hosts) < _MOST_DOMAINS:
            hosts[name] = [1, now, now]

    def flush(self, workspaces: Collection[str], on_error: Callable[[OSError], None]) -> None:
        """Writes the new counts. Counts that cannot be written now are kept. Nothing is kept of deleted workspaces."""
        for gone in self._known.keys() - set(workspaces):
            del self._known[gone]
        pending, self._pending = self._pending, {}
        for workspace, counts in pending.items():
            if workspace in workspaces:
                try:
                    self._write(workspace, counts)
                except OSError as error:
                    on_error(error)
                    self._pending[workspace] = counts

    def _write(self, workspace: str, counts: dict[str, list[int]]) -> None:
        path = self._recordings / workspace / FILE
        known = self._known.get(workspace)
        if known is None or not path.exists():
            known = _read(path)
        merged = dict(known)
        for host, (count, first, last) in counts.items():
            if host in merged or len(merged) < _MOST_DOMAINS:
                before = merged.get(host, {"count": 0, "first_seen": iso(first)})
                merged[host] = before | {"count": before["count"] + count, "last_seen": iso(last)}
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace(path, json.dumps(merged).encode(), durable=True)
        self._known[workspace] = merged


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The counts from before the recorder started; empty for an unreadable file."""
    try:
        raw = json.loads(path.read_bytes())
        return {
            str(host): {
                "count": int(entry["count"]),
                "first_seen": str(entry["first_seen"]),
                "last_seen": str(entry["last_seen"]),
            }
            for host, entry in raw.items()
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
