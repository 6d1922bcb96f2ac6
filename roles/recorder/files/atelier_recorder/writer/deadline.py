"""Limits the processor time for one message, because the writer serves all seats."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# An honest message of 4 MiB takes less than one.
SECONDS = 5.0


class TooSlow(Exception):
    """The time is over."""


@contextmanager
def limited() -> Iterator[None]:
    """Raises TooSlow in the block once it has used SECONDS of the processor. Main thread only: the kernel's
    timer interrupts it, also in the middle of a regular expression."""

    def over(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
