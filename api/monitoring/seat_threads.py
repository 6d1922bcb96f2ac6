"""Threads that wait for seats: apart from those for all else, so that no seat holds up a sign-in, a claim or a job."""

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
        """Has a thread call the function. While one with that key is under way, this is that one: a seat that does not
        answer holds one thread, however often it is asked."""
        future = self._going.get(key)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            self._going[key] = future
            future.add_done_callback(lambda _: self._going.pop(key, None))
        return future

    async def ask(self, key: Hashable, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns or raises. Who gives up waiting takes nobody else's answer away."""
        return await asyncio.shield(self.begin(key, function, *arguments))

    def close(self) -> None:
        """What has not begun never does; each that has has its own deadline."""
        self._pool.shutdown(wait=False, cancel_futures=True)
