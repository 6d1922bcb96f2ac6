"""Squid's whitelist; the file on disk is always valid for Squid.

A change writes a candidate file, has Squid check it (``squid -k parse``), renames it over the live file, runs ``squid
-k reconfigure``, and asks the running Squid for confirmation. The next run completes a run that was killed in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..common.atomic_files import usable, write_atomically
from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..engine.client import Engine
from .squid_config import (
    RECONFIGURE,
    Configuration,
    complaint,
    is_accepted,
    no_files,
    parse_command,
    read_configuration,
)
from .whitelist import BASE, WhitelistMode, plan_whitelist

# Where the container sees the folder (roles/squid).
_INSIDE = PurePosixPath("/srv/squid")
_COMMAND_SECONDS = 120.0
_POLL_SECONDS = 0.03
# Docker restarts the container when Squid has died; commands wait this long for it.
_COMES_BACK_SECONDS = 15
_LOG_LINES = 30


@dataclass(frozen=True)
class WhitelistChange:
    """A change of the list. ``before`` and ``after`` are entries, ``raw`` is the section of squid.conf."""

    changed: bool
    before: tuple[str, ...]
    after: tuple[str, ...]
    raw: str


class Squid:
    """``wait``: maximum seconds for Squid to apply a new configuration, and to wait for another run. The engine is
    opened only if something has to be done."""

    def __init__(self, state_dir: Path, instance: str, open_engine: Callable[[], Engine], wait: float) -> None:
        self._folder = state_dir / "squid"
        self._live = self._folder / "squid.conf"
        self._candidate = self._folder / "squid.conf.candidate"
        # The last configuration that Squid confirmed.
        self._good = self._folder / "squid.conf.good"
        self._container = f"{instance}-squid"
        self._engine = open_engine
        self._locks = Locks(state_dir)
        self._wait = wait

    def change(self, named: tuple[str, ...], state: WhitelistMode, *, check_mode: bool) -> WhitelistChange:
        """Makes the global whitelist hold the named entries (normalised), none of them, or exactly them.

        Raises VALIDATION_ERROR for entries that cannot be removed, SERVICE_UNAVAILABLE if Squid is not running, and
        SQUID_ERROR with Squid's message if it rejects the change; the file is then unchanged.
        """
        if not self._folder.is_dir():
            raise no_files(self._folder)
        with self._locks.whitelist(self._wait * 2):
            frame = read_configuration(self._folder / "squid.conf.frame")
            if frame is None:
                raise no_files(self._folder)
            live = read_configuration(self._live)
            before = live.entries if live else ()
            wanted = Configuration.composed(frame.text, plan_whitelist(before, named, state, BASE))
            # A stopped Squid will load the file when it is started.
            changed = live != wanted or (not wanted.is_running() and self._container_runs())
            if changed and not check_mode:
                self._apply(live, wanted)
        return WhitelistChange(changed, before, wanted.entries, wanted.section)

    def _apply(self, live: Configuration | None, wanted: Configuration) -> None:
        for leftover in self._folder.glob(".squid.conf*"):  # of writers that were killed
            leftover.unlink()
        with usable(self._folder, Code.SQUID_ERROR):
            if live is not None and live.is_running():
                self._note_good(live)
            if live != wanted:
                write_atomically(self._candidate, wanted.text.encode(), mode=0o644)
                # The live file is untouched if Squid does not take the candidate.
                code, output = self._inside(parse_command(_INSIDE / self._candidate.name))
                if not is_accepted(code, output):
                    self._candidate.unlink()
                    raise AtelierError(Code.SQUID_ERROR, Message("squid.refused", said=complaint(output)))
                self._candidate.replace(self._live)
            if self._reconfigured(wanted):
                self._note_good(wanted)
                return
            said = complaint(self._engine().logs(self._container, _LOG_LINES))
            restored = self._roll_back()
        params = {"seconds": self._wait, "said": said, "restored": restored, "container": self._container}
        raise AtelierError(Code.SQUID_ERROR, Message("squid.too_slow", **params))

    def _reconfigured(self, wanted: Configuration) -> bool:
        """Signals Squid to reload; returns whether it did within ``wait``. A restarted Squid loads the file anyway."""
        deadline = time.monotonic() + self._wait
        with suppress(AtelierError):  # the container is starting again at this moment
            self._engine().execute(self._container, RECONFIGURE, seconds=_COMMAND_SECONDS)
        while not wanted.is_running():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _note_good(self, running: Configuration) -> None:
        if read_configuration(self._good) != running:
            write_atomically(self._good, running.text.encode(), mode=0o644)

    def _roll_back(self) -> str:
        """Restores the last configuration that Squid ran; returns the outcome as a sentence."""
        good = read_configuration(self._good)
        if good is None:
            return Message("squid.no_earlier")
        write_atomically(self._live, good.text.encode(), mode=0o644)
        return Message("squid.previous_runs" if self._reconfigured(good) else "squid.previous_fails")

    def _inside(self, command: Sequence[str]) -> tuple[int, str]:
        """Runs a command in the container, which may be starting again at this moment."""
        deadline = time.monotonic() + _COMES_BACK_SECONDS
        while True:
            try:
                if not self._container_runs():
                    stopped = Message("squid.not_running", container=self._container)
                    raise AtelierError(Code.SERVICE_UNAVAILABLE, stopped)
                return self._engine().execute(self._container, command, seconds=_COMMAND_SECONDS)
            except AtelierError as error:
                if error.code is not Code.ENGINE_ERROR or time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)

    def _container_runs(self) -> bool:
        found = self._engine().inspect(self._container)
        return found is not None and found.status in ("running", "restarting")
