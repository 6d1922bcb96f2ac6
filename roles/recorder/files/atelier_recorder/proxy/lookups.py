"""DNS lookups for seats. A name server that does not answer occupies a thread for half a minute per name, so each seat
has its own limit."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

# Threads, of which most only ever wait.
LOOKUPS = 128
_OF_ONE = 8


class Lookups:
    """Some at once for each seat; further ones wait. Lives in one event loop."""

    def __init__(self) -> None:
        # Each as long as somebody holds it.
        self._seats: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, seat: str) -> asyncio.Semaphore:
        """To hold during a look-up for the seat."""
        return self._seats.setdefault(seat, asyncio.Semaphore(_OF_ONE))
