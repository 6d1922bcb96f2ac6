"""Rate limits: attempts in a sliding window per caller."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network, ip_address
from weakref import WeakValueDictionary

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message

_WINDOW_SECONDS = 60.0
# Bounds memory: the least recently seen client is evicted.
_KEPT_CALLERS = 10_000
# An IPv6 site (a /48) has 65,536 networks, each counted separately: all of them together have this multiple of one
# network's limit.
_NETWORKS_PER_SITE = 10


class Limiter:
    """Allows ``per_minute`` actions per caller and minute; 0 is no limit. ``refusal`` is the code of the message, whose
    ``wait`` are the seconds until the next attempt."""

    def __init__(self, per_minute: int, refusal: str) -> None:
        self._limit = per_minute
        self._refusal = refusal
        self._acts: OrderedDict[str, deque[float]] = OrderedDict()
        self._turn = threading.Lock()
        # Locks by caller; kept only while held or awaited.
        self._tries: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def attempt(self, caller: str, is_right: Callable[[], bool]) -> bool:
        """Whether the caller's attempt is right; a wrong one counts. Concurrent attempts are checked one after the
        other, so that each sees the earlier ones' counts. Raises TOO_MANY_ATTEMPTS, as ``check`` does."""
        key = network_of(caller)
        with self._turn:
            alone = self._tries.setdefault(key, threading.Lock())
        with alone:
            self.check(caller)
            right = is_right()
            if not right:
                self.count(caller)
        return right

    def check(self, caller: str) -> None:
        """Raises TOO_MANY_ATTEMPTS, with ``retry_after`` in seconds, when the caller has used up the minute."""
        if self._limit == 0:
            return
        moment = time.monotonic()
        wait = 0
        with self._turn:
            for key, limit in self._bounds(caller):
                acts = self._acts.get(key, deque())
                while acts and acts[0] <= moment - _WINDOW_SECONDS:
                    acts.popleft()
                if len(acts) >= limit:
                    wait = max(wait, int(acts[0] + _WINDOW_SECONDS - moment) + 1)
        if not wait:
            return
        raise AtelierError(Code.TOO_MANY_ATTEMPTS, Message(self._refusal, wait=wait), retry_after=wait)

    def count(self, caller: str) -> None:
        with self._turn:
            for key, limit in self._bounds(caller):
                self._acts.setdefault(key, deque(maxlen=limit or 1)).append(time.monotonic())
                self._acts.move_to_end(key)
            while len(self._acts) > _KEPT_CALLERS:
                self._acts.popitem(last=False)

    def forget(self, caller: str) -> None:
        with self._turn:
            self._acts.pop(self._bounds(caller)[0][0], None)

    def _bounds(self, caller: str) -> list[tuple[str, int]]:
        """The keys that the caller is counted by, with the limit of each. The address may have words before it."""
        what, gap, address = caller.rpartition(" ")
        bounds = [(f"{what}{gap}{network_of(address)}", self._limit)]
        with suppress(ValueError):
            if IPv6Address(address).ipv4_mapped is None:
                site = IPv6Network((address, 48), strict=False)
                bounds.append((f"{what}{gap}{site}", self._limit * _NETWORKS_PER_SITE))
        return bounds


def network_of(caller: str) -> str:
    """The caller's address, or the /64 network of an IPv6 caller, which owns all of it."""
    try:
        address = ip_address(caller)
    except ValueError:
        return caller
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
