"""Where fresh passwords are set: many that are wanted at once become few runs of the playbook."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from atelier.errors import AtelierError

log = logging.getLogger(__name__)

# Few enough that a seat whose IDE does not come back holds up few others, and that the first are told soon.
MOST_AT_ONCE = 10
# A run that waits for such a seat leaves room for others.
_RUNS = 2

# Sets the passwords of these hashes, by workspace id, and returns why some could not be set. Raises what ended it all.
Run = Callable[[Mapping[str, str]], Awaitable[Mapping[str, AtelierError]]]
# Those of the workspace ids whose present password is that of their hash.
Done = Callable[[Mapping[str, str]], Collection[str]]
# How often to look which seats of a run have their passwords.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class _Wish:
    caller: str
    workspace_id: str
    password_hash: str = field(repr=False)
    run: Run
    applied: Done
    done: asyncio.Future[None]


class PasswordDesk:
    """Lives in one event loop. Who comes while runs are under way goes into the next one, together with all others of
    the same caller who came meanwhile."""

    def __init__(self) -> None:
        self._waiting: list[_Wish] = []
        self._runs: set[asyncio.Task[None]] = set()

    async def change(self, caller: str, workspace_id: str, password_hash: str, run: Run, applied: Done) -> None:
        """Returns when the workspace has the password; ``run`` is called here or not at all. Raises why not."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Wish(caller, workspace_id, password_hash, run, applied, done))
        if len(self._runs) < _RUNS:
            task = asyncio.create_task(self._serve(), name="passwords")
            self._runs.add(task)
            task.add_done_callback(self._runs.discard)
        await done

    async def _serve(self) -> None:
        while bunch := self._next():
            try:
                errors: Mapping[str, Exception] = await self._run(bunch)
            except AtelierError as error:
                errors = {wish.workspace_id: error for wish in bunch}
            except Exception as error:  # the boundary: each of those who wait must be told
                log.exception("passwords could not be set")
                errors = {wish.workspace_id: error for wish in bunch}
            except asyncio.CancelledError:  # the API goes down
                for wish in bunch:
                    wish.done.cancel()
                raise
            _tell_those_done(bunch)
            for wish in bunch:
                failed = errors.get(wish.workspace_id)
                if wish.done.done():  # whoever asked has gone
                    continue
                if failed is None:
                    wish.done.set_result(None)
                else:
                    wish.done.set_exception(failed)

    async def _run(self, bunch: Sequence[_Wish]) -> Mapping[str, AtelierError]:
        """Runs the playbook for these. Who has the new password is told at once: a seat that holds up the run, or makes
        it fail, must not keep the others from knowing theirs."""
        hashes = {wish.workspace_id: wish.password_hash for wish in bunch}
        run = asyncio.ensure_future(bunch[0].run(hashes))
        try:
            while not run.done():
                await asyncio.wait({run}, timeout=_LOOK_SECONDS)
                _tell_those_done(bunch)
            return await run
        finally:
            run.cancel()

    def _next(self) -> list[_Wish]:
        """Takes the next few out of those who wait: one caller's, and of one workspace only the first."""
        bunch: dict[str, _Wish] = {}
        for wish in self._waiting:
            ours = not bunch or wish.caller == next(iter(bunch.values())).caller
            if ours and len(bunch) < MOST_AT_ONCE:
                bunch.setdefault(wish.workspace_id, wish)
        taken = list(bunch.values())
        self._waiting = [wish for wish in self._waiting if wish not in taken]
        return taken


def _tell_those_done(bunch: Sequence[_Wish]) -> None:
    waiting = {wish.workspace_id: wish for wish in bunch if not wish.done.done()}
    # Where the registry can't be read, the run's own end tells.
    with suppress(AtelierError):
        for id in bunch[0].applied({id: wish.password_hash for id, wish in waiting.items()}):
            waiting[id].done.set_result(None)
