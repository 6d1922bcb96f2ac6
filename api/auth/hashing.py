"""Password checks for unauthenticated callers, in a dedicated pool, since argon2 keeps a core busy for 20 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_THREADS = 2
# About a second of work. Later ones are refused at once, so that a flood does not become a queue.
_MOST_WAITING = 100


class Hashing:
    """Runs checks on two threads. Everything else that the API does in threads never waits for them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "hashing")
        self._waiting = 0

    async def run(self, check: Callable[[], int]) -> int:
        """Returns the check's status, or 429 while a hundred others wait."""
        if self._waiting >= _MOST_WAITING:
            return 429
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, check)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
