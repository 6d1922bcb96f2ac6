"""The audit log: changes and refusals.

Changes and refusals of strangers are kept in separate files. Anybody who can reach the gateway can cause refusals, so
these are limited in rate and size and cannot displace the changes. Changes by participants to their own workspaces'
ports are in the refusals' file, too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from heapq import merge
from pathlib import Path
from typing import Any, cast

from atelier.database.workspace_store import now

from ..core.logbook import Logbook
from ..core.rate_limit import network_of
from ..schemas.system import AuditEntry
from .middleware import Caller

_FILE_BYTES = 10 * 1024**2
_FILES = 5
_REFUSAL_FILE_BYTES = 2 * 1024**2
_REFUSAL_FILES = 2
# Within a window, equal refusals of one network get one line at its beginning and one with their count at its end.
_WINDOW_SECONDS = 60.0
_TICK_SECONDS = 15.0
# Networks and kinds of refusals that are counted separately within a window; further ones are counted together.
_MOST_KINDS = 500
_OTHERS = "others"
# Refusals are at most this share of a response if there are enough changes to fill it.
_SHARE_OF_REFUSALS = 4
# The limiter's refusals can be very frequent, so they are only counted.
_COUNTED_ONLY = "refused: TOO_MANY_ATTEMPTS"


class Audit:
    """Actor, action, workspace, result and job. Never user input. With several machines also the workspace's machine,
    which ``place`` returns.

    Entries have a ``sequence`` number, which also orders them after the clock was set back.
    """

    def __init__(
        self,
        state_dir: Path,
        clock: Callable[[], float] = time.monotonic,
        place: Callable[[str], str | None] = lambda workspace: None,
    ) -> None:
        self._place = place
        folder = state_dir / "audit"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._changes = Logbook(folder / "audit.log", file_bytes=_FILE_BYTES, files=_FILES)
        self._refusals = Logbook(folder / "refusals.log", file_bytes=_REFUSAL_FILE_BYTES, files=_REFUSAL_FILES)
        self._clock = clock
        self._turn = threading.Lock()
        self._window_begun = clock()
        # The refusals in the current window by kind, and the number of each that have no line yet.
        self._kinds: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        last = (_sequence(entry) for log in (self._changes, self._refusals) for entry in log.newest(1))
        self._sequence = max(last, default=0)

    def write(
        self, who: str, what: str, workspace: str | None, outcome: str, job: str | None = None, **more: object
    ) -> None:
        """Adds a line for a change, or for the refusal of an authorised caller."""
        with self._turn:
            self._changes.append(self._entry(who, what, workspace, outcome, job, **more))

    def note(self, who: str, what: str, workspace: str, outcome: str, **more: object) -> None:
        """Adds a line for a change by a participant, in the refusals' file: participants must not displace the
        operator's changes."""
        with self._turn:
            self._refusals.append(self._entry(who, what, workspace, outcome, **more))

    def refuse(self, caller: Caller, what: str, code: str, **more: object) -> None:
        """Notes that a caller was refused. A stranger gets at most two lines a minute for refusals of one kind."""
        outcome = f"refused: {code}"
        if caller.operator or caller.workshop_admin:
            self.write(caller.name, what, None, outcome, None, **more)
            return
        with self._turn:
            self._end_window()
            who, key = caller.name, (network_of(caller.address), what, outcome)
            if key not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                who, key = _OTHERS, (_OTHERS, what, outcome)
            if key not in self._kinds:
                self._kinds[key] = {"who": who, "what": what, "workspace": None, "outcome": outcome, **more}
                if outcome != _COUNTED_ONLY:
                    self._refusals.append(self._entry(**self._kinds[key]))
                    return
            self._counts[key] += 1

    async def run(self) -> None:
        """Ticks for as long as the API lives."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            await asyncio.to_thread(self.tick)

    def tick(self, *, closing: bool = False) -> None:
        """Writes the counts of ended windows, and lines that waited for space on the disk."""
        with self._turn:
            self._end_window(closing=closing)
            self._changes.flush()
            self._refusals.flush()

    def newest(self, limit: int) -> list[AuditEntry]:
        """The last ``limit`` entries, newest first. Refusals of strangers do not crowd out changes."""
        self.tick()
        changes, refusals = self._changes.newest(limit), self._refusals.newest(limit)
        room = max(limit // _SHARE_OF_REFUSALS, limit - len(changes))
        refusals = refusals[:room]
        kept = changes[: limit - len(refusals)]
        return cast("list[AuditEntry]", list(merge(kept, refusals, key=_sequence, reverse=True)))

    def close(self) -> None:
        self.tick(closing=True)

    def _end_window(self, *, closing: bool = False) -> None:
        moment = self._clock()
        if closing or moment - self._window_begun >= _WINDOW_SECONDS:
            kinds, counts = self._kinds, self._counts
            self._window_begun, self._kinds, self._counts = moment, {}, Counter()
            self._refusals.append(*(self._entry(**kinds[key], count=count) for key, count in counts.items()))

    def _entry(
        self, who: object, what: object, workspace: str | None, outcome: object, job: object = None, **more: object
    ) -> dict[str, object]:
        self._sequence += 1
        entry = {"at": now(), "who": who, "what": what, "workspace": workspace, "outcome": outcome, "job": job}
        node = self._place(workspace) if workspace and "node" not in more else None
        place = {} if node is None else {"node": node}
        return {**entry, **place, **more, "sequence": self._sequence}


def _sequence(entry: dict[str, Any]) -> int:
    """The entry's number; 0 for entries of versions before there were numbers."""
    number = entry.get("sequence", 0)
    return number if isinstance(number, int) else 0
