"""The pauses of seats that a backup makes. Docker keeps only its last 256 events, so they are followed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker

from tests.waiting import eventually


@dataclass
class Pauses:
    """``longest`` is in seconds."""

    longest: float = 0.0
    begun: dict[str, int] = field(default_factory=dict)

    def note(self, event: dict[str, object]) -> None:
        id, nanoseconds = str(event["id"]), int(str(event["timeNano"]))
        if event["Action"] == "pause":
            self.begun[id] = nanoseconds
        elif id in self.begun:  # otherwise a backup that was killed before left it paused
            self.longest = max(self.longest, (nanoseconds - self.begun[id]) / 1e9)
            del self.begun[id]


@contextmanager
def followed_pauses(instance: str) -> Iterator[Pauses]:
    """The pauses of the installation's seats, complete after the block. Fails if one has not ended."""
    found = Pauses()
    filters = {"type": "container", "label": f"atelier.instance={instance}", "event": ["pause", "unpause"]}
    stream = docker.APIClient(version="auto", timeout=None).events(filters=filters, decode=True)
    thread = threading.Thread(target=lambda: [found.note(event) for event in stream], daemon=True)
    thread.start()
    try:
        yield found
        eventually(lambda: not found.begun, "the seats go on")
    finally:
        stream.close()
        thread.join()
