"""Reads the last requests of one client from the end of Squid's access log.

The lines are those of roles/squid's squid.conf (the native format without padding). A log is rotated at any moment:
``access.log`` becomes ``access.log.0``, that ``access.log.1``, and so on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from ..common.models import Site, Workspace
from ..engine.client import Engine
from ..engine.several import ask_all

_MOST_BYTES = 64 * 1024**2
_MOST_SECONDS = 2.0
_BLOCK = 1024**2
# Longer lines are not Squid's.
_LONGEST_LINE = 1024**2
_LINE = re.compile(rb"(\d{1,12}\.\d{3}) +(\d+) (\S+) ([A-Z_]+/\d{3}) (\d+) (\S+) (\S+) \S+ [A-Z_]+/\S+ \S.*")
_TRIES = 10
# The newest lines first; rotated files by their numbers, of which 0 is the newest.
_ON_NODE = (
    'cd "$1" || exit 1; /usr/bin/timeout 2 /usr/bin/tac access.log $(/bin/ls -v access.log.* 2>/dev/null) 2>/dev/null'
    ' | /bin/grep -a -m "$3" -E "$2" | /usr/bin/head -c "$4"; exit 0'
)
_MOST_ON_NODE = 4 * 1024**2
_NODE_SECONDS = 5.0
_ROTATED = re.compile(r"access\.log\.(\d{1,4})")


@dataclass(frozen=True)
class LogEntry:
    """One request, in the HTTP contract's terms. ``timestamp`` is in seconds since 1970 with milliseconds, ``duration``
    in milliseconds; both are text, as the log and the contract have them."""

    timestamp: str
    duration: str
    client_ip: str
    status: str
    bytes: str
    method: str
    url: str
    raw_line: str


def last_requests(state_dir: Path, workspace: Workspace, lines: int) -> list[LogEntry]:
    """The last requests of a workspace whose proxy logs them, without those of previous owners of its address."""
    since = datetime.fromisoformat(workspace.created_at).timestamp()
    return recent(workspace.proxy_mode.proxy_folder(state_dir) / "log", workspace.address, lines, since=since)


def last_requests_anywhere(
    site: Site, engine_of: Callable[[str], Engine], workspace: Workspace, lines: int
) -> tuple[list[LogEntry], list[str]]:
    """The same from the logs of all machines, since it may have been moved, and the machines that did not answer."""

    def ask(node: str) -> list[LogEntry]:
        return last_requests_on(site, engine_of(node), workspace, lines)

    found, failures = ask_all([node.name for node in site.nodes], ask)
    entries = [last_requests(site.state_dir, workspace, lines), *found.values()]
    return sorted(chain(*entries), key=lambda entry: float(entry.timestamp))[-lines:], sorted(failures)


def last_requests_on(site: Site, engine: Engine, workspace: Workspace, lines: int) -> list[LogEntry]:
    """The same from a node's log, read in its proxy's container. Raises what the engine raises."""
    proxy = workspace.proxy_mode.proxy
    client = f"^[0-9.]+ +[0-9]+ {re.escape(workspace.address)} "
    command = ["/bin/sh", "-c", _ON_NODE, "log", f"/srv/{proxy}/log", client, str(lines), str(_MOST_ON_NODE)]
    _, output = engine.execute(f"{site.instance}-{proxy}", command, seconds=_NODE_SECONDS, limit=2 * _MOST_ON_NODE)
    since = datetime.fromisoformat(workspace.created_at).timestamp()
    parsed = (parse(line.encode()) for line in output.splitlines())
    # The newest come first, so what is cut off is the oldest.
    entries = [entry for entry in parsed if entry and entry.client_ip == workspace.address]
    return [entry for entry in entries if float(entry.timestamp) >= since][::-1]


def recent(folder: Path, address: str, lines: int, *, since: float = 0) -> list[LogEntry]:
    """The client's last requests, the oldest first; at most ``lines``, none that ended before ``since`` (seconds since
    1970: an address may have been another workspace's). Gives up its search after 64 MiB or two seconds.

    A folder or log that is missing has no requests. Raises OSError for one that can't be read.
    """
    found: list[LogEntry] = []
    needle = f" {address} ".encode()
    deadline = time.monotonic() + _MOST_SECONDS
    with ExitStack() as stack:
        for chunk in _backwards(_open_all(folder, stack)):
            for entry in _matches(chunk, needle, address):
                if float(entry.timestamp) < since:
                    return found[::-1]
                found.append(entry)
                if len(found) >= lines:
                    return found[::-1]
            if time.monotonic() > deadline:
                break
    return found[::-1]


def parse(line: bytes) -> LogEntry | None:
    """Parses a line without its line end; returns None if it is not a line of Squid's log."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    fields = [field.decode(errors="replace") for field in (*match.groups(), line)]
    return LogEntry(*fields)


def _open_all(folder: Path, stack: ExitStack) -> list[int]:
    """Descriptors of the logs, the newest first, all opened before any is read.

    A rotation only increases a log's number, so no log is missed; one that is rotated in between is opened twice and
    used once. If the first was rotated, too, a newer one may be missing: then all are opened again.
    """
    for _ in range(_TRIES):
        newest = _identity(folder / "access.log")
        opened = _open_each(folder, stack)
        if newest == _identity(folder / "access.log"):
            break
    return list(opened.values())


def _open_each(folder: Path, stack: ExitStack) -> dict[tuple[int, int], int]:
    try:
        rotated = [int(match[1]) for path in folder.iterdir() if (match := _ROTATED.fullmatch(path.name))]
    except FileNotFoundError:
        return {}
    # Also the name that the last log gets if they are rotated now.
    numbers = [*sorted(rotated), max(rotated, default=-1) + 1]
    opened: dict[tuple[int, int], int] = {}
    for name in ("access.log", *(f"access.log.{number}" for number in numbers)):
        try:
            # Squid owns the folder: a link in it could point to a file that only root can read.
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        opened.setdefault((status.st_dev, status.st_ino), descriptor)
    return opened


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _backwards(descriptors: list[int]) -> Iterator[bytes]:
    """Whole lines in large chunks, from the end of the first file to the beginning of the last."""
    left = _MOST_BYTES
    for descriptor in descriptors:
        position = os.fstat(descriptor).st_size
        rest = b""  # the end of a line that begins in an earlier chunk
        at_end = True
        while position > 0 and left > 0:
            size = min(_BLOCK, position, left)
            position -= size
            left -= size
            block = os.pread(descriptor, size, position)
            if at_end:
                # The text after the last line end is still being written.
                block = block[: block.rfind(b"\n") + 1]
                at_end = not block
            whole = block + rest
            begin = 0 if position == 0 else whole.find(b"\n") + 1
            if begin == 0 and position > 0:
                rest = whole if len(whole) <= _LONGEST_LINE else b""
                continue
            rest = whole[:begin]
            yield whole[begin:]


def _matches(chunk: bytes, needle: bytes, address: str) -> Iterator[LogEntry]:
    """The client's entries in a chunk of whole lines, the last first."""
    end = len(chunk)
    while (at := chunk.rfind(needle, 0, end)) >= 0:
        begin = chunk.rfind(b"\n", 0, at) + 1
        stop = chunk.find(b"\n", at)
        entry = parse(chunk[begin : stop if stop >= 0 else len(chunk)].removesuffix(b"\r"))
        if entry is not None and entry.client_ip == address:
            yield entry
        end = begin
