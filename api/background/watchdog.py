"""Ends the process if its event loop stalls; Docker restarts only ended containers, not hung ones."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time

_STALL_SECONDS = 60.0
_EVERY_SECONDS = 1.0
_EXIT_CODE = 70  # EX_SOFTWARE


async def run(stall: float = _STALL_SECONDS) -> None:
    """Runs as a task for as long as the API does. The traces of all threads go to the log first."""
    beat = [time.monotonic()]
    over = threading.Event()
    threading.Thread(target=_watch, args=(beat, over, stall), name="watchdog", daemon=True).start()
    try:
        while True:
            beat[0] = time.monotonic()
            await asyncio.sleep(_EVERY_SECONDS)
    finally:
        over.set()


def _watch(beat: list[float], over: threading.Event, stall: float) -> None:
    looked = time.monotonic()
    while not over.wait(_EVERY_SECONDS):
        # A machine that was suspended stalls this thread, too; only a loop that lags behind it hangs.
        paused, looked = time.monotonic() - looked - _EVERY_SECONDS, time.monotonic()
        if paused > _EVERY_SECONDS:
            beat[0] += paused
        if time.monotonic() - beat[0] > stall:
            print(f"the event loop has not run for {stall:g} s; the API ends itself", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(_EXIT_CODE)
