"""Sets new passwords in batches, one run of the playbook each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from atelier.common.errors import AtelierError

from .batcher import Batcher, Waiting

# Small batches, so that a seat whose IDE does not answer delays few others, and the first are answered soon.
MOST_AT_ONCE = 10
# Maximum concurrent runs, so that one that waits for such a seat does not block others.
_RUNS = 2

# Sets passwords by their hashes, by workspace id; returns the errors of some. Raises an error that ended the run.
Run = Callable[[Mapping[str, str]], Awaitable[Mapping[str, AtelierError]]]
# Returns the workspace ids whose present password matches their hash.
Done = Callable[[Mapping[str, str]], Collection[str]]
# Interval for checking which seats of a run have their passwords.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class _Wish:
    caller: str
    workspace_id: str
    password_hash: str = field(repr=False)
    run: Run
    applied: Done


_Batch = Sequence[Waiting[_Wish, None]]


class PasswordBatcher:
    """Changes that arrive while runs are under way share the next one with all others of the same caller."""

    def __init__(self) -> None:
        self._batcher: Batcher[_Wish, None] = Batcher("passwords", _serve, _next, _RUNS)

    async def change(self, caller: str, workspace_id: str, password_hash: str, run: Run, applied: Done) -> None:
        """Returns when the workspace has the password; ``run`` is called here or not at all. Raises why not."""
        await self._batcher.call(_Wish(caller, workspace_id, password_hash, run, applied))


async def _serve(batch: _Batch) -> None:
    """Runs the playbook for these. Each caller is answered as soon as its password is set, so that a seat that delays
    or fails the run does not affect the others."""
    run = asyncio.ensure_future(batch[0].wish.run({one.wish.workspace_id: one.wish.password_hash for one in batch}))
    try:
        while not run.done():
            await asyncio.wait({run}, timeout=_LOOK_SECONDS)
            _tell_those_done(batch)
        errors = await run
    finally:
        run.cancel()
    for one in batch:
        one.end(errors.get(one.wish.workspace_id))


def _next(waiting: _Batch) -> _Batch:
    """The next waiting calls: of one caller, and for each workspace only the first."""
    batch: dict[str, Waiting[_Wish, None]] = {}
    for one in waiting:
        if one.wish.caller == waiting[0].wish.caller and len(batch) < MOST_AT_ONCE:
            batch.setdefault(one.wish.workspace_id, one)
    return list(batch.values())


def _tell_those_done(batch: _Batch) -> None:
    waiting = {one.wish.workspace_id: one for one in batch if not one.result.done()}
    # If the database cannot be read, wait for the run's end.
    with suppress(AtelierError):
        for id in batch[0].wish.applied({id: one.wish.password_hash for id, one in waiting.items()}):
            waiting[id].end(None)
