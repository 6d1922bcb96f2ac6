"""The writer: the process that converts the proxy's messages to files. It runs as long as the pipe to it.

python -m atelier_recorder.writer.process SETTINGS
"""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from ..messages import DomainSeen, Exchanged, Message, SocketMessage, SocketOpened
from ..settings import Settings, read_settings
from ..timestamps import now_ms
from ..workspaces import Workspaces
from .deadline import TooSlow, limited
from .domains import Domains
from .records import call_record, slow_record
from .sessions import Session
from .store import Store
from .turns import Turns

_TICK_SECONDS = 0.5
_SWEEP_SECONDS = 3600
# Maximum messages that are read before one is processed.
_AT_ONCE = 10_000
# Maximum time for the work at the end; the proxy waits a few seconds longer.
_END_SECONDS = 5
# Interval for writing an incomplete WebSocket answer (ms), and maximum time for all of them at once.
_SESSION_EVERY = 5_000
_SESSIONS_SECONDS = 1.0


class Writer:
    """Neither data from a seat nor a full disk ends it: both are logged once, and it continues."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._workspaces = Workspaces(settings.workspaces_file)
        self._domains = Domains(settings.recordings_dir)
        self._store = Store(settings.recordings_dir, settings.limits)
        self._timestamps: dict[int, str] = {}
        self._sessions: dict[int, Session] = {}
        self._failing = False
        self._swept = float("-inf")

    def take(self, message: Message) -> None:
        try:
            self._take(message)
        except OSError as error:
            self._trouble(error)
        except Exception as error:  # noqa: BLE001 - a body that nobody thought of must not end everybody's recording
            _say(f"a {type(message).__name__} could not be recorded: {type(error).__name__}")

    def tick(self, now: int) -> None:
        """Periodic work: writes counts and incomplete answers, and removes old files."""
        self._domains.flush(self._workspaces.ids(), self._trouble)
        began = time.monotonic()
        for number, session in list(self._sessions.items()):
            if time.monotonic() - began > _SESSIONS_SECONDS:
                break
            if now - session.written_at >= _SESSION_EVERY:
                # Moved to the end: the next time begins with the others.
                self._sessions[number] = self._sessions.pop(number)
                session.written_at = now
                self._write_session(session, now, closed=False)
        try:
            if time.monotonic() - self._swept >= _SWEEP_SECONDS:
                self._swept = time.monotonic()
                self._store.sweep()
        except OSError as error:
            self._trouble(error)

    def end(self, now: int) -> None:
        for session in self._sessions.values():
            self._write_session(session, now, closed=True)
        self.tick(now)

    def _take(self, message: Message) -> None:
        if isinstance(message, DomainSeen):
            if workspace := self._workspaces.id_of(message.address):
                self._domains.count(workspace, message.host, message.at)
        elif isinstance(message, SocketOpened):
            if workspace := self._workspaces.id_of(message.address):
                self._sessions[message.number] = Session(message, partial(self._store.allocate, workspace))
        elif isinstance(message, Exchanged):
            self._take_call(message)
        elif isinstance(message, SocketMessage):
            self._take_socket_message(message)
        elif closed := self._sessions.pop(message.number, None):  # a SocketClosed
            self._write_session(closed, message.at, closed=True)

    def _take_socket_message(self, message: SocketMessage) -> None:
        session = self._sessions.get(message.number)
        if session is None or len(message.content) > self._limits.max_conversation_bytes:
            return
        try:
            with limited():
                records = list(session.take(message))
        except TooSlow:
            del self._sessions[message.number]
            _say("a session took too long to read; the rest of it is not recorded")
            return
        for record in records:
            self._write(session.address, record, final=True)

    def _take_call(self, call: Exchanged) -> None:
        workspace = self._workspaces.id_of(call.address)
        if workspace is None:
            return
        timestamp = self._timestamps.pop(call.number, None) or self._store.allocate(workspace, call.started)
        if not call.final:
            self._timestamps[call.number] = timestamp
        try:
            with limited():
                record = call_record(call, timestamp, self._limits.max_conversation_bytes)
        except TooSlow:
            record = slow_record(call, timestamp)
        if record is not None:
            self._write(call.address, record, final=call.final)

    def _write_session(self, session: Session, now: int, *, closed: bool) -> None:
        try:
            with limited():
                records = list(session.unfinished(now, closed=closed))
            for record in records:
                self._write(session.address, record, final=closed)
        except OSError as error:
            self._trouble(error)
        except TooSlow:
            _say("a session took too long to read; this state of it is not recorded")

    def _write(self, address: str, record: dict[str, object], *, final: bool) -> None:
        # Asked again: a workspace may have been deleted meanwhile, and its recordings with it.
        if workspace := self._workspaces.id_of(address):
            self._store.write(workspace, record, final=final)
            if self._failing:
                self._failing = False
                _say("recordings can be written again")

    def _trouble(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            _say(f"recordings can't be written ({error.strerror}); traffic goes on, what passes now may be missing")


def _say(text: str) -> None:
    print(f"recorder: {text}", file=sys.stderr, flush=True)


def main() -> None:
    # Ignore signals: it ends with the pipe, after writing everything, even when the container is stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    writer = Writer(read_settings(Path(sys.argv[1])))
    pipe, turns = Connection(sys.stdin.fileno(), writable=False), Turns()
    next_tick, is_open = 0.0, True
    while is_open:
        wait = 0 if turns else max(next_tick - time.monotonic(), 0)
        # Most of what came since: who comes next is decided among them.
        for _ in range(_AT_ONCE):
            if not pipe.poll(wait):
                break
            try:
                turns.add(pipe.recv())
                wait = 0
            except (OSError, EOFError):
                is_open = False
                break
        if turns:
            _take_next(writer, turns)
        if time.monotonic() >= next_tick:
            writer.tick(now_ms())
            next_tick = time.monotonic() + _TICK_SECONDS
    deadline = time.monotonic() + _END_SECONDS
    while turns and time.monotonic() < deadline:
        _take_next(writer, turns)
    writer.end(now_ms())


def _take_next(writer: Writer, turns: Turns) -> None:
    message, began = turns.take(), time.process_time()
    writer.take(message)
    turns.charge(message, time.process_time() - began)


if __name__ == "__main__":
    main()
