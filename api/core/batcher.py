"""Batches concurrent calls: those that arrive during a run share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from atelier.common.errors import AtelierError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Waiting(Generic[T, R]):
    """One call: its request, and the future that its caller awaits, unless the caller is gone."""

    def __init__(self, wish: T) -> None:
        self.wish = wish
        self.result: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def end(self, result: R | Exception) -> None:
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


class Batcher(Generic[T, R]):
    """Belongs to one event loop. ``serve`` completes the calls of a batch; its exception is raised to all calls without
    a result. ``choose`` picks the next batch from the waiting calls; up to ``runs`` batches run at once. A run begins
    ``gather`` seconds after its first call, so that calls which arrive together share it."""

    def __init__(
        self,
        name: str,
        serve: Callable[[Sequence[Waiting[T, R]]], Awaitable[None]],
        choose: Callable[[Sequence[Waiting[T, R]]], Sequence[Waiting[T, R]]] = list,
        runs: int = 1,
        gather: float = 0.0,
    ) -> None:
        self._name, self._serve, self._choose, self._most_runs = name, serve, choose, runs
        self._gather = gather
        self._waiting: list[Waiting[T, R]] = []
        self._runs: list[asyncio.Task[None]] = []

    async def call(self, wish: T) -> R:
        one: Waiting[T, R] = Waiting(wish)
        self._waiting.append(one)
        self._runs = [run for run in self._runs if not run.done()]
        if len(self._runs) < self._most_runs:
            self._runs.append(asyncio.create_task(self._serve_all(), name=self._name))
        return await one.result

    async def _serve_all(self) -> None:
        if self._gather:
            await asyncio.sleep(self._gather)
        while batch := self._choose(self._waiting):
            self._waiting = [one for one in self._waiting if one not in batch]
            try:
                await self._serve(batch)
            except asyncio.CancelledError:  # the API goes down
                for one in batch:
                    one.result.cancel()
                raise
            except Exception as error:  # the boundary: all that wait must get an answer
                unexpected = not isinstance(error, AtelierError)
                log.error("%s: %d could not be served: %s", self._name, len(batch), error, exc_info=unexpected)
                for one in batch:
                    one.end(error)
