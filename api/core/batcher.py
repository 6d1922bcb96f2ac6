"""Batches concurrent calls: those that arrive during a run share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from atelier.common.errors import AtelierError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

# Serves workspaces: by their ids, the values of their wishes. It calls the function with the id of each one that is
# done, and returns why others are not. Raises an error that ended the whole.
Run = Callable[[Mapping[str, str], Callable[[str], None]], Awaitable[Mapping[str, AtelierError]]]


@dataclass(frozen=True)
class Wish:
    """A change that a caller wants for one workspace. ``run`` is called for it, or for another one that shares its
    run."""

    workspace_id: str
    run: Run
    value: str = field(default="", repr=False)
    caller: str = ""


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
    a result. ``choose`` picks the next batch from the waiting calls, at least one of them. A run begins ``gather``
    seconds after its first call, so that calls which arrive together share it.

    Up to ``runs`` batches run at once. One that takes longer than ``patience`` seconds does not hold back the next one,
    but never more than ``most`` run at once.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Sequence[Waiting[T, R]]], Awaitable[None]],
        choose: Callable[[Sequence[Waiting[T, R]]], Sequence[Waiting[T, R]]] = list,
        runs: int = 1,
        gather: float = 0.0,
        patience: float | None = None,
        most: int | None = None,
    ) -> None:
        self._name, self._serve, self._choose = name, serve, choose
        self._most_holding, self._most, self._gather, self._patience = runs, most or runs, gather, patience
        self._waiting: list[Waiting[T, R]] = []
        self._runs: set[asyncio.Task[None]] = set()
        # The runs that delay the next one.
        self._holding: set[asyncio.Task[None]] = set()

    async def call(self, wish: T) -> R:
        one: Waiting[T, R] = Waiting(wish)
        self._waiting.append(one)
        self._begin(self._gather)
        return await one.result

    def _begin(self, gather: float = 0.0) -> None:
        """Begins a run if calls wait and the present runs allow another one."""
        if not self._waiting or len(self._holding) >= self._most_holding or len(self._runs) >= self._most:
            return
        run = asyncio.create_task(self._run(gather), name=self._name)
        self._runs.add(run)
        self._holding.add(run)
        run.add_done_callback(self._end)
        if self._patience is not None:
            asyncio.get_running_loop().call_later(self._patience, self._let_pass, run)

    def _let_pass(self, run: asyncio.Task[None]) -> None:
        self._holding.discard(run)
        self._begin()

    def _end(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._holding.discard(run)
        if not run.cancelled():
            self._begin()

    async def _run(self, gather: float) -> None:
        if gather:
            await asyncio.sleep(gather)
        batch = self._choose(self._waiting)
        if not batch:  # another run has taken them
            return
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


async def serve_together(batch: Sequence[Waiting[Wish, None]]) -> None:
    """Serves the wishes in one run. Each caller is answered as soon as its own workspace is done, so that one that
    delays or fails the run does not affect the others."""
    waiting = {one.wish.workspace_id: one for one in batch}
    values = {id: one.wish.value for id, one in waiting.items()}
    errors = await batch[0].wish.run(values, lambda id: waiting[id].end(None))
    for id, one in waiting.items():
        one.end(errors.get(id))
