"""Event streams, limited because each uses a connection and memory for as long as its client likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from sse_starlette import EventSourceResponse, ServerSentEvent

from .rate_limit import network_of

# A classroom's browsers, or an operator's many tabs, share one address.
_MOST_OF_ONE = 200
_MOST = 1000


class Streams:
    """Counts by address. Lives in one event loop."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def answer(self, address: str, events: AsyncGenerator[ServerSentEvent]) -> EventSourceResponse:
        """Sends the events as they come. Raises TOO_MANY_ATTEMPTS when the address, or all together, have as many
        streams open as they may."""
        network = network_of(address)
        if self._open[network] >= _MOST_OF_ONE or self._open.total() >= _MOST:
            raise AtelierError(Code.TOO_MANY_ATTEMPTS, Message("too_many.streams"), retry_after=10)
        return EventSourceResponse(self._counted(network, events), ping=15)

    async def _counted(self, network: str, events: AsyncGenerator[ServerSentEvent]) -> AsyncIterator[ServerSentEvent]:
        self._open[network] += 1
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]
