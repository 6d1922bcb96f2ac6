"""Limits concurrent git processes, in total and per seat, so that nobody keeps others waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.exceptions import HTTPException

from ..settings import Settings

# Maximum waiting requests, per seat and of all seats; each keeps a connection open.
_WAITING = 16
_WAITING_IN_ALL = 400
_LATER = {"Retry-After": "5"}


class Slots:
    """The slots, for one event loop. A request that waited for ``idle_seconds`` fails with HTTPException 503."""

    def __init__(self, settings: Settings) -> None:
        self._patience = settings.idle_seconds
        self._per_seat = settings.max_per_seat
        # Pushes are read whole before they need a git. Clones are as slow as who fetches them, so they have others.
        self._gits = {pushes: asyncio.Semaphore(settings.max_processes) for pushes in (True, False)}
        self._seats: dict[str, asyncio.Semaphore] = {}
        self._present: Counter[str] = Counter()

    @asynccontextmanager
    async def of_seat(self, user: str | None) -> AsyncIterator[None]:
        """Holds one of a seat's request slots from the first byte of its body on; None for users without a limit."""
        if user is None:
            yield
            return
        if self._present[user] >= self._per_seat + _WAITING:
            raise HTTPException(429, "Too many clones and pushes of yours are under way.", _LATER)
        if self._present.total() >= _WAITING_IN_ALL:
            raise HTTPException(503, "Too many clones and pushes are under way.", _LATER)
        self._present[user] += 1
        try:
            async with self._taken(self._seats.setdefault(user, asyncio.Semaphore(self._per_seat))):
                yield
        finally:
            self._present[user] -= 1
            if not self._present[user]:
                del self._present[user], self._seats[user]

    def of_git(self, *, pushes: bool) -> AbstractAsyncContextManager[None]:
        return self._taken(self._gits[pushes])

    @asynccontextmanager
    async def _taken(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(slots.acquire(), self._patience)
        except TimeoutError as error:
            raise HTTPException(503, "Too many clones and pushes are under way.", _LATER) from error
        try:
            yield
        finally:
            slots.release()
