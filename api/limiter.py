"""How often somebody may do something: counted in a sliding window, by whatever tells callers apart."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from weakref import WeakValueDictionary

from atelier.errors import AtelierError, Code

_WINDOW_SECONDS = 60.0
# A stranger with many addresses must not fill the memory; whoever came longest ago is forgotten.
_KEPT_CALLERS = 10_000


class Limiter:
    """At most ``per_minute`` of one caller's acts count within a minute; 0 is no limit. ``{wait}`` in the refusal is
    replaced by the seconds until the next try."""

    def __init__(self, per_minute: int, refusal: str) -> None:
        self._limit = per_minute
        self._refusal = refusal
        self._acts: OrderedDict[str, deque[float]] = OrderedDict()
        self._turn = threading.Lock()
        # By caller; kept only while somebody holds or awaits one.
        self._tries: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def attempt(self, caller: str, is_right: Callable[[], bool]) -> bool:
        """Whether the caller's try is right; a wrong one counts. Of many at once one is looked at after the other, so
        that none is looked at before those ahead of it were counted. Raises TOO_MANY_ATTEMPTS, as ``check`` does."""
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
        with self._turn:
            acts = self._acts.get(network_of(caller), deque())
            while acts and acts[0] <= moment - _WINDOW_SECONDS:
                acts.popleft()
            if len(acts) < self._limit:
                return
            wait = int(acts[0] + _WINDOW_SECONDS - moment) + 1
        raise AtelierError(Code.TOO_MANY_ATTEMPTS, self._refusal.format(wait=wait), retry_after=wait)

    def count(self, caller: str) -> None:
        key = network_of(caller)
        with self._turn:
            self._acts.setdefault(key, deque(maxlen=self._limit or 1)).append(time.monotonic())
            self._acts.move_to_end(key)
            if len(self._acts) > _KEPT_CALLERS:
                self._acts.popitem(last=False)

    def forget(self, caller: str) -> None:
        with self._turn:
            self._acts.pop(network_of(caller), None)


def network_of(caller: str) -> str:
    """An IPv6 caller has a whole /64 to call from."""
    try:
        address = ip_address(caller)
    except ValueError:
        return caller
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
