"""Limits open event streams, because each uses a connection and memory for as long as its client likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message

from .rate_limit import network_of

# A classroom's browsers, or an operator's many tabs, share one address.
_MOST_OF_ONE = 200
_MOST = 1000


class Streams:
    """Counts by address. Lives in one event loop."""

    def __init__(self, most_of_one: int = _MOST_OF_ONE, most: int = _MOST) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._open: Counter[str] = Counter()

    def check(self, address: str) -> None:
        """Raises TOO_MANY_ATTEMPTS when the address, or all together, have as many open as they may."""
        if self._open[network_of(address)] >= self._most_of_one or self._open.total() >= self._most:
            raise AtelierError(Code.TOO_MANY_ATTEMPTS, Message("too_many.streams"), retry_after=10)

    @contextmanager
    def held(self, address: str) -> Iterator[None]:
        network = network_of(address)
        self._open[network] += 1
        try:
            yield
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]
