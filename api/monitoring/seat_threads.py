"""Dedicated threads that wait for seats, so that no seat blocks a sign-in, a claim or a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class SeatThreads:
    """Lives in one event loop."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._going: dict[Hashable, asyncio.Future[Any]] = {}

    def begin(self, key: Hashable, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Calls the function in a thread. A running call with the same key is shared: a seat that does not answer
        occupies one thread only."""
        future = self._going.get(key)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            self._going[key] = future
            future.add_done_callback(lambda _: self._going.pop(key, None))
        return future

    async def ask(self, key: Hashable, function: Callable[..., T], *arguments: Any) -> T:
        """The function's result or exception. A caller that gives up does not affect the others."""
        return await asyncio.shield(self.begin(key, function, *arguments))

    def close(self) -> None:
        """Cancels calls that have not started; running ones have their own deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)
