"""The change feed of open pages: one check for all of them announces which topics changed.

Playbooks run by hand change the database from other processes, so it must be polled; one check every half second, while
anybody follows, costs the same for one page and for a hundred.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping

from sse_starlette import ServerSentEvent

from ..core.periodic import run_periodically

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5


class ChangeFeed:
    """``look`` returns each topic's state as a comparable value; it is called in the event loop and must be fast if
    nothing changed."""

    def __init__(self, look: Callable[[], Mapping[str, object]]) -> None:
        self._look = look
        self._states: Mapping[str, object] = {}
        self._changes: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._followers = 0
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[ServerSentEvent]:
        """Yields an event for each topic at the beginning, since a new client may have missed changes, then on each
        change."""
        self._followers += 1
        if self._task is None:
            looks = run_periodically(log, "telling pages of changes", _LOOK_SECONDS, self._compare)
            self._task = asyncio.create_task(looks, name="feed")
        known: dict[str, int] = {}
        try:
            while True:
                async with self._changed:
                    while known == self._changes:
                        await self._changed.wait()
                    news = [topic for topic, count in self._changes.items() if known.get(topic) != count]
                    known = dict(self._changes)
                for topic in news:
                    yield ServerSentEvent("{}", event=topic)
        finally:
            self._followers -= 1
            if not self._followers:
                self._task.cancel()
                self._task = None

    async def _compare(self) -> None:
        states = self._look()
        news = [topic for topic, state in states.items() if topic not in self._changes or self._states[topic] != state]
        if not news:
            return
        async with self._changed:
            self._states = dict(states)
            for topic in news:
                self._changes[topic] = self._changes.get(topic, 0) + 1
            self._changed.notify_all()
