"""Waiting in tests: for conditions, never for a fixed time. Negative checks wait for a short, bounded time."""

from __future__ import annotations

import asyncio
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


async def reached(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    """Runs the event loop until the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds in vain for: {what}"
        await asyncio.sleep(0.005)


async def still_waits(task: asyncio.Future[Any], seconds: float = 0.1) -> bool:
    """Whether the task has no result within that time; returns at once if it has."""
    await asyncio.wait({task}, timeout=seconds)
    return not task.done()
