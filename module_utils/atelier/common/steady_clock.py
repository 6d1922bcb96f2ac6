"""A clock that ignores jumps of the machine's clock until they have lasted for a while.

The clock may be set wrong and right again, or NTP may step it: decisions that cannot be undone at once (stopping
workspaces, ending a workshop) must not follow the first jump.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

log = logging.getLogger(__name__)

# Seconds. Differences up to the first are followed at once, larger ones when they have lasted for the second.
_SLEW = 10.0
_SETTLED = 600.0


class SteadyClock:
    """``jumps`` counts the jumps that were accepted: times from before an accepted jump can't be compared with times
    after it. The clock moves only when it is asked, so ask it regularly."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._doubted: tuple[float, float] | None = None  # the other offset, and since when
        self.jumps = 0

    @property
    def is_doubted(self) -> bool:
        """Whether the machine's clock has jumped and the jump is not accepted yet."""
        return self._doubted is not None

    def now(self) -> datetime:
        moment = self._steady()
        offset = self._wall() - moment
        if abs(offset - self._offset) <= _SLEW:
            self._offset, self._doubted = offset, None
        elif self._doubted is None or abs(offset - self._doubted[0]) > _SLEW:
            self._doubted = offset, moment
            log.warning("the clock jumped by %.0f seconds", offset - self._offset)
        elif moment - self._doubted[1] >= _SETTLED:
            self._offset, self._doubted = offset, None
            self.jumps += 1
        return datetime.fromtimestamp(moment + self._offset, UTC)
