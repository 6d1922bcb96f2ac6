"""Processes of this machine, found by whose children they are and by their arguments."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def containerd_below(folder: Path) -> list[int]:
    """containerd, its shims and their containers, of a dockerd whose files are in the folder. A container whose start
    the dockerd's end came into is one that no later dockerd knows."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if b"containerd" in words and f"{folder}/".encode() in words:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def executions(job: str) -> list[int]:
    """The playbook of an API's job, which begins a moment after the job's first event."""
    mark = f"ATELIER_EXECUTION={job}".encode()

    def look() -> list[int]:
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    found.append(int(environment.parent.name))
        return found

    deadline = time.monotonic() + 3
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
