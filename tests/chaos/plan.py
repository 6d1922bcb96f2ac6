"""The plan of each round: all random decisions from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPERATIONS = ("create", "clone", "stop", "start", "password", "checkpoint", "reset", "delete", "collect")
VICTIMS = (
    "api",
    "ansible-playbook",
    "dockerd",
    "containerd",
    "gateway",
    "git",
    "squid",
    "recorder",
    "seat",  # PID 1 of the workspace that the operation is about, or of the base
    "ide",
    "shim",
    "dockerd and containerd",
    "host",
)


@dataclass(frozen=True)
class Round:
    """``marks``: how much of the job's progress is awaited before the kill, as a share of its events (0: it is asked
    for, 1: its last step). ``seat``: which of the workspaces the operation is about, as a share of the list.
    ``live_restore``: whether Docker is set up to let containers outlive it."""

    number: int
    operation: str
    victim: str
    marks: float
    seat: float
    live_restore: bool

    def __str__(self) -> str:
        live = " with live-restore" if self.live_restore else ""
        return (
            f"round {self.number}: {self.victim} dies at {self.marks:.2f} of a {self.operation}{live}"
            f" (seat {self.seat:.2f})"
        )


def rounds(
    seed: int, count: int, operations: Sequence[str] = OPERATIONS, victims: Sequence[str] = VICTIMS
) -> list[Round]:
    """Plans ``count`` rounds. Victims and operations take turns in independent orders, so that few rounds cover all."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    next_victim, next_operation = _turns(chance, victims), _turns(chance, operations)
    return [
        Round(number, next(next_operation), next(next_victim), chance.random(), chance.random(), chance.random() < 0.3)
        for number in range(1, count + 1)
    ]


def _turns(chance: random.Random, names: Sequence[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(names, len(names))
