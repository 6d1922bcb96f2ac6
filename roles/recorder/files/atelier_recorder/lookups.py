"""DNS lookups for seats. A name server that does not answer occupies a thread for half a minute per name, so each seat
has its own limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Threads, of which most only ever wait.
LOOKUPS = 128
_OF_ONE = 8


class Lookups:
    """Some at once for each seat; further ones wait. Lives in one event loop."""

    def __init__(self) -> None:
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        places = self._places.setdefault(owner, asyncio.Semaphore(_OF_ONE))
        self._users[owner] += 1
        try:
            async with places:
                yield
        finally:
            self._users[owner] -= 1
            if not self._users[owner]:
                del self._users[owner], self._places[owner]
