"""Processes of this machine, found by whose children they are and by their arguments."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def kill_with_descendants(root: int) -> None:
    """kill -9 for a process and all below it. They are stopped first, so that none starts another meanwhile."""
    found: set[int] = set()
    while new := {root, *descendants(root)} - found:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        found |= new
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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

    def look() -> list[int]:
        running = psutil.process_iter(["environ"])
        return [each.pid for each in running if (each.info["environ"] or {}).get("ATELIER_EXECUTION") == job]

    deadline = time.monotonic() + 3
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
