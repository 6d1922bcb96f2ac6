"""Selects the next message: that of the seat that has used the least time. A flood loses only its own messages."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..messages import Message, SocketClosed, SocketMessage, SocketOpened, weight

MIB = 1024**2
# Maximum waiting messages and bytes per seat, and bytes in total. A seat below its fair share loses nothing.
MOST_EACH = 5_000
BYTES_EACH = 24 * MIB
BYTES_ALL = 96 * MIB
_FAIR_BYTES = 2 * MIB
_SMALL = 1024


@dataclass
class _Queue:
    spent: float = 0.0
    size: int = 0
    messages: deque[Message] = field(default_factory=deque)


class Turns:
    """Messages that wait, by the seat's address. The sockets are those whose beginning was taken."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._sockets: set[int] = set()
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, message: Message) -> bool:
        """Whether the message waits now. A socket whose beginning was lost is lost altogether; an end never is."""
        if isinstance(message, SocketMessage | SocketClosed) and message.number not in self._sockets:
            return False
        queue, size = self._queues.get(message.address), _size(message)
        if not isinstance(message, SocketClosed) and queue is not None:
            full = len(queue.messages) >= MOST_EACH or queue.size + size > BYTES_EACH
            if full or (self._size + size > BYTES_ALL and queue.size + size > _FAIR_BYTES):
                return False
        if queue is None:
            # Nobody saves up time while there is nothing to do.
            least = min((other.spent for other in self._queues.values()), default=0.0)
            queue = self._queues[message.address] = _Queue(spent=least)
        queue.messages.append(message)
        queue.size += size
        self._size += size
        if isinstance(message, SocketOpened):
            self._sockets.add(message.number)
        elif isinstance(message, SocketClosed):
            self._sockets.remove(message.number)
        return True

    def take(self) -> Message:
        """The next message. There must be one."""
        queue = min(self._queues.values(), key=lambda each: each.spent)
        message = queue.messages.popleft()
        queue.size -= _size(message)
        self._size -= _size(message)
        return message

    def charge(self, message: Message, seconds: float) -> None:
        """The message that was taken took so long."""
        queue = self._queues[message.address]
        queue.spent += seconds
        if not queue.messages:
            del self._queues[message.address]


def _size(message: Message) -> int:
    return max(weight(message), _SMALL)
