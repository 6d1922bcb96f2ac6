"""Where claims are taken: many at once become few transactions, and a seat's password is told to one person, once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from atelier.claims import Applicant, Claim, Claims, Outcome
from atelier.errors import AtelierError, Code

from .limiter import Limiter

log = logging.getLogger(__name__)

# A seat that takes no password is tried again after 10 s, then 30 s, and so on to ten minutes: whoever asks all the
# time must not make a job each time.
_FIRST_PAUSE, _PAUSE_GROWS, _LONGEST_PAUSE = 10.0, 3, 600.0


@dataclass(frozen=True)
class _Failed:
    """A claim whose seat did not take a password. ``again_at`` is by ``time.monotonic``."""

    claimed_at: str
    pause: float
    again_at: float
    error: AtelierError


class ClaimDesk:
    """Lives in one event loop. Whoever comes while a transaction is written goes into the next one together with all
    others who came meanwhile, so the last of two hundred waits for a few writes to the disk and not for two hundred."""

    def __init__(
        self, claims: Claims, limiter: Limiter, leaving: Callable[[], Collection[str]], *, password_due: bool
    ) -> None:
        self.claims = claims
        self.limiter = limiter
        self._leaving = leaving
        self._password_due = password_due
        self._waiting: list[tuple[Applicant, asyncio.Future[Outcome]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._at: set[str] = set()
        # By workspace id.
        self._failed: dict[str, _Failed] = {}

    async def claim(self, applicant: Applicant) -> Outcome:
        """Raises what the registry raises; then nobody of that transaction has a seat."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((applicant, future))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name="claims")
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            bunch, self._waiting = self._waiting, []
            applicants = [applicant for applicant, _ in bunch]
            try:
                outcomes = await asyncio.to_thread(self._claim, applicants)
            except AtelierError as error:
                log.error("%d claims could not be written: %s", len(bunch), error)
                _tell(bunch, error)
                continue
            except Exception as error:  # the boundary: each of those who wait must be told
                log.exception("claims could not be written")
                _tell(bunch, error)
                continue
            for (_, future), outcome in zip(bunch, outcomes, strict=True):
                if not future.done():  # whoever asked has gone; the seat is theirs all the same
                    future.set_result(outcome)

    def _claim(self, applicants: Sequence[Applicant]) -> list[Outcome]:
        return self.claims.claim(applicants, password_due=self._password_due, leaving=self._leaving())

    @contextmanager
    def telling(self, claim: Claim) -> Iterator[bool]:
        """Says whether the caller is the one who tells the seat's participant a password now: of two at once it is the
        first. After an error it raises the same again for a while."""
        id = claim.workspace_id
        if id in self._at:
            yield False
            return
        failed = self._failed.get(id)
        if failed is not None and failed.claimed_at != claim.claimed_at:
            failed = None
        if failed is not None and time.monotonic() < failed.again_at:
            raise _later(failed)
        self._at.add(id)
        try:
            yield True
        except AtelierError as error:
            # Docker's absence is no fault of the seat.
            if error.code is not Code.SERVICE_UNAVAILABLE:
                pause = min(failed.pause * _PAUSE_GROWS, _LONGEST_PAUSE) if failed else _FIRST_PAUSE
                self._failed[id] = _Failed(claim.claimed_at, pause, time.monotonic() + pause, error)
            raise
        else:
            self._failed.pop(id, None)
        finally:
            self._at.discard(id)


def _later(failed: _Failed) -> AtelierError:
    wait = int(failed.again_at - time.monotonic()) + 1
    return AtelierError(
        failed.error.code,
        failed.error.message,
        remedy=f"Tell whoever runs the workshop, or try again in {wait} seconds.",
        retry_after=wait,
    )


def _tell(bunch: Sequence[tuple[Applicant, asyncio.Future[Outcome]]], error: Exception) -> None:
    for _, future in bunch:
        if not future.done():
            future.set_exception(error)
