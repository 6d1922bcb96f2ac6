"""The gateway's maps: workspace id -> address, and alias -> id and port, as HAProxy has them.

The map file is what HAProxy reads when it starts; the runtime socket changes the map under a running one, so a new
seat never reloads the proxy under somebody's open IDE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..common.atomic_files import usable, write_atomically
from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..common.portions import portions
from .runtime_socket import ask

# HAProxy takes a line of commands, payload included, only while it fits its buffer of 16 KiB.
_CHARACTERS_PER_COMMAND = 15_000


def wrong_routes(present: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The keys that are missing, lead elsewhere or are left over."""
    return sorted({key for key, _ in present.items() ^ wanted.items()})


class Gateway:
    """A map of an installation's gateway. The gateway need not run: it reads the map's file when it starts."""

    def __init__(self, state_dir: Path, locks: Locks, map_name: str = "routes.map") -> None:
        self._map = state_dir / "gateway" / map_name
        self._state_dir = state_dir
        self._locks = locks

    def sync(self, read_wanted: Callable[[], Mapping[str, str]]) -> bool:
        """Makes the file and the running map hold exactly the wanted routes; returns whether the file was changed.

        The routes are read while the map is locked, so of two concurrent calls the later one includes the earlier
        one's. Raises GATEWAY_ERROR if the file can't be written or HAProxy refuses a command.
        """
        with self._locks.gateway():
            wanted = read_wanted()
            is_changed = bool(wrong_routes(self.saved(), wanted))
            if is_changed:
                self._save(wanted)
            running = self.running()
            if running is not None:
                self._apply(running, wanted)
        return is_changed

    def saved(self) -> dict[str, str]:
        """The routes in the file."""
        with usable(self._map, Code.GATEWAY_ERROR):
            return _pairs(self._map.read_text().splitlines()) if self._map.exists() else {}

    def _save(self, wanted: Mapping[str, str]) -> None:
        lines = "".join(f"{key} {value}\n" for key, value in wanted.items())
        with usable(self._map, Code.GATEWAY_ERROR):
            self._map.parent.mkdir(mode=0o755, exist_ok=True)
            write_atomically(self._map, lines.encode(), mode=0o644)

    def running(self) -> dict[str, str] | None:
        """The routes of the running gateway; None when it doesn't run."""
        answer = ask(self._state_dir, f"show map {self._map}\n")
        if answer is None:
            return None
        # Each line is "<internal address> <key> <value>".
        return _pairs(line.split(" ", 1)[1] for line in answer.splitlines() if " " in line)

    def _apply(self, running: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        new = (f"{key} {value}\n" for key, value in wanted.items() if key not in running)
        for lines in portions(new, len, _CHARACTERS_PER_COMMAND):
            self._change(f"add map {self._map} <<\n{''.join(lines)}\n")
        moved = (key for key in wanted if key in running and running[key] != wanted[key])
        changes = [f"set map {self._map} {key} {wanted[key]}; " for key in moved]
        changes += [f"del map {self._map} {key}; " for key in running if key not in wanted]
        for commands in portions(changes, len, _CHARACTERS_PER_COMMAND):
            self._change("".join(commands).removesuffix("; ") + "\n")

    def _change(self, command: str) -> None:
        answer = ask(self._state_dir, command)
        if answer and answer.strip():
            raise AtelierError(Code.GATEWAY_ERROR, Message("gateway.refused", said=answer.strip()[:200]))


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    return {fields[0]: fields[1] for line in lines if len(fields := line.split()) == 2}
