"""The proxy's end of the pipe to the scribe: a thread, so that the proxy's loop never waits for it."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .bodies import Budget
from .call import Call
from .messages import Message, pack, weight

# Small messages that may wait; when the scribe is that far behind, further ones are lost rather than memory.
_MOST_WAITING = 100_000
_TICK_SECONDS = 1.0
_END_SECONDS = 8
_STOP = object()


class Feeder:
    """``send`` and ``finish`` are called from the proxy's loop and only put things into a queue."""

    def __init__(self, settings_file: Path, budget: Budget, open_calls: Callable[[], Iterable[Call]]) -> None:
        self._settings_file = settings_file
        self._budget = budget
        self._open_calls = open_calls
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._scribe: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._thread.start()

    def send(self, message: Message) -> None:
        """Takes memory for what a seat chose of the message while it waits; without any left, the message is lost."""
        if self._queue.qsize() >= _MOST_WAITING:
            return
        if not self._budget.take(weight(message)):
            return
        self._queue.put(message)

    def finish(self, call: Call, *, ended: bool, error: str | None = None) -> None:
        """The call is over; its memory is given back once the scribe has it."""
        self._queue.put((call, ended, error))

    def stop(self) -> None:
        """Waits until the scribe has written what it was sent, at most some seconds."""
        self._queue.put(_STOP)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        next_tick = time.monotonic() + _TICK_SECONDS
        while True:
            try:
                item = self._queue.get(timeout=max(next_tick - time.monotonic(), 0.001))
            except queue.Empty:
                item = None
            if item is _STOP:
                break
            if isinstance(item, tuple):
                call, ended, error = item
                self._write(call.seen(_now(), final=True, ended=ended, error=error))
                call.release()
            elif item is not None:
                self._write(item)  # type: ignore[arg-type]
                self._budget.give(weight(item))  # type: ignore[arg-type]
            if time.monotonic() >= next_tick:
                for call in self._open_calls():
                    if call.is_due(_now()):
                        self._write(call.seen(_now(), final=False))
                next_tick = time.monotonic() + _TICK_SECONDS
        self._close()

    def _write(self, message: Message) -> None:
        data = pack(message)
        for _ in range(2):  # a scribe that died is started anew, and told again
            try:
                pipe = self._running().stdin
                if pipe is None:
                    return
                pipe.write(data)
                pipe.flush()
                return
            except OSError:
                self._close()
                time.sleep(0.2)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._scribe is None or self._scribe.poll() is not None:
            self._scribe = subprocess.Popen(
                [sys.executable, "-m", "atelier_recorder.scribe", str(self._settings_file)], stdin=subprocess.PIPE
            )
        return self._scribe

    def _close(self) -> None:
        scribe, self._scribe = self._scribe, None
        if scribe is None or scribe.stdin is None:
            return
        try:
            scribe.stdin.close()
        except OSError:
            scribe.kill()  # it is gone, or as good as gone
        try:
            scribe.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            scribe.kill()


def _now() -> int:
    return int(time.time() * 1000)
