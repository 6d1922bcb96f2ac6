"""Processes claims in batches, and shows each seat's password once, to one person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER
from atelier.database.claims import Claim, ClaimResult, Claims, Participant
from atelier.database.workspace_store import WorkspaceStore

from ..core.batcher import Batcher, Waiting

# A seat whose password cannot be set is retried after 10 s, then 30 s, and so on up to ten minutes, so that repeated
# claims do not create a job each.
_FIRST_PAUSE, _PAUSE_GROWS, _LONGEST_PAUSE = 10.0, 3, 600.0


def out_of_reach(store: WorkspaceStore, answers: Callable[[str], bool]) -> set[str]:
    """Ids of the workspaces on nodes that do not answer."""
    away = [node for node in store.seats() if node != CONTROLLER and not answers(node)]
    return {row.id for node in away for row in store.all(node)}


@dataclass(frozen=True)
class _Failed:
    """A claim whose seat did not take a password. ``again_at`` is by ``time.monotonic``."""

    claimed_at: str
    pause: float
    again_at: float
    error: AtelierError


class ClaimBatcher:
    """Claims that arrive during a transaction share the next one, so the last of two hundred waits for a few disk
    writes, not two hundred."""

    def __init__(self, claims: Claims, leaving: Callable[[], Collection[str]], *, password_pending: bool) -> None:
        self.claims = claims
        self._leaving = leaving
        self._password_pending = password_pending
        self._batcher: Batcher[Participant, ClaimResult] = Batcher("claims", self._serve)
        self._at: set[str] = set()
        # Failed seats by workspace id.
        self._failed: dict[str, _Failed] = {}

    async def claim(self, participant: Participant) -> ClaimResult:
        """Raises the database's errors; then no claim of that transaction has a seat."""
        return await self._batcher.call(participant)

    async def _serve(self, batch: Sequence[Waiting[Participant, ClaimResult]]) -> None:
        def claim() -> list[ClaimResult]:
            participants = [one.wish for one in batch]
            return self.claims.claim(participants, password_pending=self._password_pending, leaving=self._leaving)

        for one, outcome in zip(batch, await asyncio.to_thread(claim), strict=True):
            one.end(outcome)

    @contextmanager
    def password_delivery_lock(self, claim: Claim) -> Iterator[bool]:
        """Returns whether this call shows the participant the seat's password: of concurrent calls only the first.
        After an error it raises the same again for a while."""
        id = claim.workspace_id
        if id in self._at:
            yield False
            return
        failed = self._failed.get(id)
        if failed is not None and failed.claimed_at != claim.claimed_at:
            failed = None
        if failed is not None and (left := failed.again_at - time.monotonic()) > 0:
            wait, error = int(left) + 1, failed.error
            raise AtelierError(error.code, error.message, remedy=Message("api.try_later", wait=wait), retry_after=wait)
        self._at.add(id)
        try:
            yield True
        except AtelierError as error:
            # An unavailable Docker is not the seat's error.
            if error.code is not Code.SERVICE_UNAVAILABLE:
                pause = min(failed.pause * _PAUSE_GROWS, _LONGEST_PAUSE) if failed else _FIRST_PAUSE
                self._failed[id] = _Failed(claim.claimed_at, pause, time.monotonic() + pause, error)
            raise
        else:
            self._failed.pop(id, None)
        finally:
            self._at.discard(id)
