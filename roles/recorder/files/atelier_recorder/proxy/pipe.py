"""The proxy's end of the pipe to the writer: a thread, so that the proxy's loop never waits for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path

from ..body_buffer import Budget
from ..messages import Message, weight
from ..timestamps import now_ms
from .exchange import Exchange

# Small messages that may wait; when the writer is that far behind, further ones are lost rather than memory.
_MOST_WAITING = 100_000
_TICK_SECONDS = 1.0
_END_SECONDS = 8
# A call that is over, whether its answer ended, and its error.
_Finished = tuple[Exchange, bool, str | None]


class Pipe:
    """``send`` and ``finish`` are called from the proxy's loop and only put things into a queue."""

    def __init__(self, settings_file: Path, budget: Budget, open_exchanges: Callable[[], Iterable[Exchange]]) -> None:
        self._settings_file = settings_file
        self._budget = budget
        self._open_exchanges = open_exchanges
        self._queue: queue.SimpleQueue[Message | _Finished | None] = queue.SimpleQueue()  # None: stop
        self._thread = threading.Thread(target=self._run, name="pipe", daemon=True)
        self._writer: tuple[subprocess.Popen[bytes], Connection] | None = None

    def start(self) -> None:
        self._thread.start()

    def send(self, message: Message) -> None:
        """Takes the seat's part of the message from its memory while it waits; without memory the message is lost."""
        if self._queue.qsize() < _MOST_WAITING and self._budget.take(weight(message), message.address):
            self._queue.put(message)

    def finish(self, exchange: Exchange, *, ended: bool, error: str | None = None) -> None:
        """The call is over; its memory is given back once the writer has it."""
        self._queue.put((exchange, ended, error))

    def stop(self) -> None:
        """Waits some seconds for the writer to write what it was sent."""
        self._queue.put(None)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        next_tick = time.monotonic() + _TICK_SECONDS
        while True:
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=max(next_tick - time.monotonic(), 0.001))
                if item is None:
                    break
                self._pass_on(item)
            if time.monotonic() >= next_tick:
                for exchange in self._open_exchanges():
                    if exchange.is_due(now_ms()):
                        self._write(exchange.seen(now_ms(), final=False))
                next_tick = time.monotonic() + _TICK_SECONDS
        self._close()

    def _pass_on(self, item: Message | _Finished) -> None:
        if isinstance(item, tuple):
            exchange, ended, error = item
            self._write(exchange.seen(now_ms(), final=True, ended=ended, error=error))
            exchange.release()
        else:
            self._write(item)
            self._budget.give(weight(item), item.address)

    def _write(self, message: Message) -> None:
        for _ in range(2):  # a writer that died is restarted and gets the message again
            try:
                self._running().send(message)
                return
            except OSError:
                self._close()
                time.sleep(0.2)

    def _running(self) -> Connection:
        if self._writer is None:
            command = [sys.executable, "-m", "atelier_recorder.writer.process", str(self._settings_file)]
            its_end, connection = multiprocessing.Pipe(duplex=False)
            with its_end:
                self._writer = subprocess.Popen(command, stdin=its_end.fileno()), connection
        return self._writer[1]

    def _close(self) -> None:
        if self._writer is None:
            return
        (writer, connection), self._writer = self._writer, None
        connection.close()
        try:
            writer.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            writer.kill()
