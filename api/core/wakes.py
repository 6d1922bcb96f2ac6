"""Starts of sleeping workspaces that visits cause: bounded, and several in one run of the playbook."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field

from atelier.common.errors import AtelierError

from .batcher import Batcher, Run, Wish, serve_together
from .rate_limit import Limiter

# Starts of one workspace within a minute. Each one after the first follows another stop or a failed start.
_STARTS_PER_WORKSPACE = 3
# Runs at once. One that waits longer for a workspace whose IDE does not answer leaves room for another.
_RUNS, _MOST_RUNS = 2, 4
_PATIENCE_SECONDS = 10.0
# How long a run waits for other visits at the same moment.
_GATHER_SECONDS = 0.05
# How long a reloaded page waits for the workspace, and how many may wait.
_HOLD_SECONDS = 5.0
_MOST_HELD = 500
_MOST_VISITORS = 100
# The expected duration of a start before there was one, and the weight of each new one.
_USUAL_SECONDS = 2.5
_WEIGHT = 0.2
# The progress that is shown while a start takes longer than expected.
_MOST_PERCENT = 95


@dataclass(frozen=True)
class Visit:
    """The response to a visit. ``status``: 204 lets it pass to the workspace; 202 shows the waiting page, with the
    progress in percent and the remaining seconds; 429 too many starts; 503 it could not be started."""

    status: int
    percent: int = 0
    seconds: int = 0


@dataclass
class _Waking:
    """A start that is under way. ``share`` is how many times as long as alone it is expected to take."""

    task: asyncio.Task[None]
    usual: float
    share: float
    begun: float
    visitors: set[str] = field(default_factory=set)

    def shown(self) -> Visit:
        elapsed, expected = time.monotonic() - self.begun, self.usual * self.share
        percent = min(int(100 * elapsed / expected), _MOST_PERCENT)
        return Visit(202, percent, max(round(expected - elapsed), 1))


class Wakes:
    """Belongs to one event loop. ``outcomes`` counts ``started``, ``failed`` and ``refused``."""

    def __init__(self, per_minute: int) -> None:
        self._by_address = Limiter(per_minute, "too_many.wakes")
        self._by_workspace = Limiter(_STARTS_PER_WORKSPACE, "too_many.wakes")
        self._batcher: Batcher[Wish, None] = Batcher(
            "wakes", serve_together, runs=_RUNS, gather=_GATHER_SECONDS, patience=_PATIENCE_SECONDS, most=_MOST_RUNS
        )
        self._waking: dict[str, _Waking] = {}
        self._held = 0
        self._usual = _USUAL_SECONDS
        self.outcomes: Counter[str] = Counter()

    def begin(self, workspace_id: str, address: str, run: Run) -> None:
        """Starts the workspace, by ``run`` or that of another one. Raises TOO_MANY_ATTEMPTS."""
        limits = ((self._by_address, address), (self._by_workspace, workspace_id))
        try:
            for limiter, key in limits:
                limiter.check(key)
        except AtelierError:
            self.outcomes["refused"] += 1
            raise
        for limiter, key in limits:
            limiter.count(key)
        share = 1 + len(self._waking) / (os.cpu_count() or 1)
        task = asyncio.create_task(self._batcher.call(Wish(workspace_id, run)), name=f"wake-{workspace_id}")
        self._waking[workspace_id] = _Waking(task, self._usual, share, time.monotonic())
        task.add_done_callback(lambda _: self._end(workspace_id))

    def ids(self) -> frozenset[str]:
        """The ids of the workspaces that a visit is starting."""
        return frozenset(self._waking)

    async def follow(self, workspace_id: str, visitor: str) -> Visit | None:
        """Responds to a visit to a workspace that is waking up. A visitor gets the waiting page the first time; later
        visits wait some seconds for the workspace. Returns None if it is not waking up."""
        waking = self._waking.get(workspace_id)
        if waking is None:
            return None
        is_first = visitor not in waking.visitors
        if len(waking.visitors) < _MOST_VISITORS:
            waking.visitors.add(visitor)
        if not is_first and self._held < _MOST_HELD:
            self._held += 1
            try:
                await asyncio.wait({waking.task}, timeout=_HOLD_SECONDS)
            finally:
                self._held -= 1
        if not waking.task.done():
            return waking.shown()
        return Visit(503 if waking.task.cancelled() or waking.task.exception() else 204)

    def _end(self, workspace_id: str) -> None:
        waking = self._waking.pop(workspace_id)
        if waking.task.cancelled():  # the API goes down
            return
        failed = waking.task.exception() is not None
        self.outcomes["failed" if failed else "started"] += 1
        if not failed:
            alone = (time.monotonic() - waking.begun) / waking.share
            self._usual += _WEIGHT * (alone - self._usual)
