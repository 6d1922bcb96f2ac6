"""Distinguishes machines that left Docker Swarm from unreachable ones: Swarm reports both as down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..common.errors import AtelierError

# Maximum wait for the first answer, and validity of an answer.
_WAIT_SECONDS = 0.5
_FRESH_SECONDS = 10.0


class Departures:
    """Asks machines in the background, since one that is down may never answer. Of threads that begin at once, each may
    ask. ``id_at`` returns a machine's id in the Swarm that it belongs to, as its own engine says; empty if it belongs
    to none."""

    def __init__(self, id_at: Callable[[str], str]) -> None:
        self._id_at = id_at
        # By name and id: a machine that joins again gets a new id.
        self._asked_at: dict[tuple[str, str], float] = {}
        self._left: set[tuple[str, str]] = set()

    def has_left(self, node: str, id: str) -> bool:
        """Whether the machine, down with this id, answers that it is not this member any more; from its last answer."""
        member = node, id
        before, now = self._asked_at.get(member), time.monotonic()
        if before is None or now > before + _FRESH_SECONDS:
            self._asked_at[member] = now
            # A daemon: a process that ends must not wait for a machine that hangs.
            asking = threading.Thread(target=self._ask, args=(member,), name=f"ask-{node}", daemon=True)
            asking.start()
            if before is None:
                asking.join(_WAIT_SECONDS)
        return member in self._left

    def _ask(self, member: tuple[str, str]) -> None:
        node, id = member
        left = False
        with suppress(AtelierError):
            left = self._id_at(node) != id
        (self._left.add if left else self._left.discard)(member)
