"""How often somebody may do something: counted in a sliding window, by whatever tells callers apart."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address

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

    def check(self, caller: str) -> None:
        """Raises TOO_MANY_ATTEMPTS, with ``retry_after`` in seconds, when the caller has used up the minute."""
        if self._limit == 0:
            return
        moment = time.monotonic()
        with self._turn:
            acts = self._acts.get(_network(caller), deque())
            while acts and acts[0] <= moment - _WINDOW_SECONDS:
                acts.popleft()
            if len(acts) < self._limit:
                return
            wait = int(acts[0] + _WINDOW_SECONDS - moment) + 1
        raise AtelierError(Code.TOO_MANY_ATTEMPTS, self._refusal.format(wait=wait), retry_after=wait)

    def count(self, caller: str) -> None:
        key = _network(caller)
        with self._turn:
            self._acts.setdefault(key, deque(maxlen=self._limit or 1)).append(time.monotonic())
            self._acts.move_to_end(key)
            if len(self._acts) > _KEPT_CALLERS:
                self._acts.popitem(last=False)

    def forget(self, caller: str) -> None:
        with self._turn:
            self._acts.pop(_network(caller), None)


def _network(caller: str) -> str:
    """An IPv6 caller has a whole /64 to call from."""
    try:
        address = ip_address(caller)
    except ValueError:
        return caller
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
