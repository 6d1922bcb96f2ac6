"""The scribe: the process that turns what the proxy saw into files. It lives as long as the pipe to it.

python -m atelier_recorder.scribe SETTINGS
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .deadline import TooSlow, limited
from .domains import Domains
from .messages import DomainSeen, Exchanged, Message, SocketClosed, SocketMessage, SocketOpened, Unpacker
from .records import call_record, slow_record
from .sessions import Session
from .settings import Settings, read_settings
from .store import Store
from .workspaces import Workspaces

_TICK_SECONDS = 0.5
_SWEEP_SECONDS = 3600
_READ_BYTES = 1024**2


class Scribe:
    """Nothing that a seat sends or a disk refuses ends it: both are said once in the log, and it goes on."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._limits = settings.limits
        self._workspaces = Workspaces(settings.workspaces_file)
        self._domains = Domains(settings.recordings_dir)
        self._store = Store(settings.recordings_dir, settings.limits)
        self._timestamps: dict[int, str] = {}
        self._sessions: dict[int, Session] = {}
        self._say = say
        self._failing = False
        self._swept = float("-inf")

    def take(self, message: Message) -> None:
        try:
            self._take(message)
        except OSError as error:
            self._trouble(error)
        except Exception as error:  # noqa: BLE001 - a body that nobody thought of must not end everybody's recording
            self._say(f"a {type(message).__name__} could not be recorded: {type(error).__name__}")

    def tick(self, now: int) -> None:
        """What is done from time to time: the counts and the answers under way are written, old files go."""
        failed: list[OSError] = []
        self._domains.flush(self._workspaces.ids(), failed.append)
        for session in self._sessions.values():
            self._write_session(session, now, closed=False)
        try:
            if time.monotonic() - self._swept >= _SWEEP_SECONDS:
                self._swept = time.monotonic()
                self._store.sweep()
        except OSError as error:
            failed.append(error)
        for trouble in failed:
            self._trouble(trouble)

    def end(self, now: int) -> None:
        for session in self._sessions.values():
            self._write_session(session, now, closed=True)
        self.tick(now)

    def _take(self, message: Message) -> None:
        if isinstance(message, DomainSeen):
            if workspace := self._workspaces.id_of(message.address):
                self._domains.count(workspace, message.host, message.at)
        elif isinstance(message, Exchanged):
            self._take_call(message)
        elif isinstance(message, SocketOpened):
            if workspace := self._workspaces.id_of(message.address):
                found = workspace
                self._sessions[message.number] = Session(message, lambda at: self._store.allocate(found, at))
        elif isinstance(message, SocketMessage):
            if session := self._sessions.get(message.number):
                for record in session.take(message):
                    self._write(session.address, record, final=True)
        elif isinstance(message, SocketClosed) and (closed := self._sessions.pop(message.number, None)):
            self._write_session(closed, message.at, closed=True)

    def _take_call(self, call: Exchanged) -> None:
        workspace = self._workspaces.id_of(call.address)
        if workspace is None:
            return
        timestamp = self._timestamps.get(call.number) or self._store.allocate(workspace, call.started)
        if call.final:
            self._timestamps.pop(call.number, None)
        else:
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
            for record in session.unfinished(now, closed=closed):
                self._write(session.address, record, final=closed)
        except OSError as error:
            self._trouble(error)

    def _write(self, address: str, record: dict[str, object], *, final: bool) -> None:
        # Asked again: a workspace may have been deleted meanwhile, and its recordings with it.
        workspace = self._workspaces.id_of(address)
        if workspace is not None:
            self._store.write(workspace, record, final=final)
            if self._failing:
                self._failing = False
                self._say("recordings can be written again")

    def _trouble(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._say(
                f"recordings can't be written ({error.strerror}); traffic goes on, what passes now may be missing"
            )


def main() -> None:
    # It ends with the pipe, when all was written; not before, when the whole container is told to stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    scribe = Scribe(
        read_settings(Path(sys.argv[1])), lambda text: print(f"recorder: {text}", file=sys.stderr, flush=True)
    )
    unpacker = Unpacker()
    next_tick = 0.0
    while True:
        wait = max(next_tick - time.monotonic(), 0)
        if select.select([0], [], [], wait)[0]:
            data = os.read(0, _READ_BYTES)
            if not data:
                break
            for message in unpacker.feed(data):
                scribe.take(message)
        if time.monotonic() >= next_tick:
            scribe.tick(int(time.time() * 1000))
            next_tick = time.monotonic() + _TICK_SECONDS
    scribe.end(int(time.time() * 1000))


if __name__ == "__main__":
    main()
