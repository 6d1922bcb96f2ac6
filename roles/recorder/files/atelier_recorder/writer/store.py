"""The recorded conversations on disk: one file each, within the limits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..settings import Limits
from ..timestamps import file_name, iso
from .files import TEMPORARY, replace

FOLDER = "conversations"
_DAY = 24 * 3600
# Below the limit by this part when it was reached, so that not every further file has to look at all of them.
_SLACK = 0.95
_SHORTEST_TEXT = 200


class Store:
    """``recordings`` holds a folder for each workspace."""

    def __init__(self, recordings: Path, limits: Limits) -> None:
        self._recordings = recordings
        self._limits = limits
        self._last: dict[str, int] = {}
        self._used: dict[str, tuple[int, int]] = {}  # files and bytes, never less than there are
        # A clock that jumps ahead makes nothing old: ages are measured by the slower of both clocks.
        self._started = time.time() - time.monotonic()

    def allocate(self, workspace: str, now: int) -> str:
        """A timestamp that no other conversation of the workspace has, ``now`` (milliseconds) or just after it."""
        moment = max(now, self._last.get(workspace, 0) + 1)
        while (self._folder(workspace) / file_name(iso(moment))).exists():  # the clock went back
            moment += 1
        self._last[workspace] = moment
        return iso(moment)

    def write(self, workspace: str, document: dict[str, Any], *, final: bool) -> None:
        """Puts the conversation there, or in the place of its earlier state. Raises OSError."""
        data = fit(document, self._limits.max_conversation_bytes)
        folder = self._folder(workspace)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        replace(folder / file_name(document["timestamp"]), data, durable=final)
        files, size = self._used.get(workspace) or self._measure(workspace)
        self._used[workspace] = files + 1, size + len(data)
        if files >= self._limits.max_conversations or size + len(data) > self._limits.max_workspace_bytes:
            self.prune(workspace)

    def prune(self, workspace: str) -> None:
        """Removes files beyond the maximum age, then the oldest ones beyond the maximum size. Raises OSError."""
        entries = sorted(self._entries(workspace))
        size = sum(entry[1] for entry in entries)
        count = len(entries)
        now = min(time.time(), self._started + time.monotonic())
        oldest = file_name(iso(int((now - self._limits.retention_days * _DAY) * 1000)))
        over = count > self._limits.max_conversations or size > self._limits.max_workspace_bytes
        slack = _SLACK if over else 1
        for name, length in entries:
            if (
                name >= oldest
                and count <= self._limits.max_conversations * slack
                and size <= self._limits.max_workspace_bytes * slack
            ):
                break
            (self._folder(workspace) / name).unlink(missing_ok=True)
            count, size = count - 1, size - length
        self._used[workspace] = count, size

    def sweep(self) -> None:
        """Prunes every workspace, and removes incomplete files of a killed recorder. Raises OSError."""
        for entry in os.scandir(self._recordings):
            if entry.is_dir(follow_symlinks=False):
                for left in (*Path(entry.path).glob(f"{TEMPORARY}*"), *Path(entry.path, FOLDER).glob(f"{TEMPORARY}*")):
                    left.unlink(missing_ok=True)
                self.prune(entry.name)

    def _folder(self, workspace: str) -> Path:
        return self._recordings / workspace / FOLDER

    def _measure(self, workspace: str) -> tuple[int, int]:
        lengths = [length for _, length in self._entries(workspace)]
        return len(lengths), sum(lengths)

    def _entries(self, workspace: str) -> Iterator[tuple[str, int]]:
        try:
            with os.scandir(self._folder(workspace)) as entries:
                for entry in entries:
                    if entry.name.endswith(".json") and not entry.name.startswith("."):
                        try:
                            yield entry.name, entry.stat(follow_symlinks=False).st_size
                        except FileNotFoundError:
                            continue  # somebody deletes conversations at this moment
        except FileNotFoundError:
            return


def fit(document: dict[str, Any], limit: int) -> bytes:
    """The document as JSON of at most ``limit`` bytes; where it is longer, its long texts are cut until it fits."""
    data, longest = _encoded(document), limit // 2
    while len(data) > limit and longest >= _SHORTEST_TEXT:
        document = {**_cut(document, longest), "truncated": True}
        data, longest = _encoded(document), longest // 4
    if len(data) > limit:  # not long texts but a great many short ones
        data = _encoded({**document, "truncated": True, "parsed_request": None, "parsed_response": None})
    return data


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]} [... {len(value) - longest} more characters]"
    if isinstance(value, dict):
        return {name: _cut(inner, longest) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, longest) for inner in value]
    return value
