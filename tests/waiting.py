"""Waiting in tests: for conditions, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# A quiet machine needs a fiftieth of it; nothing waits this long unless it is broken.
PATIENCE_SECONDS = 120


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Waits until the condition returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds in vain for: {what}"
        time.sleep(0.02)
    return found
