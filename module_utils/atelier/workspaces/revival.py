"""Restarts workspaces that should run: after a crash Docker marks the containers that it stopped as manually
stopped, and a run that was killed while it copied a workspace leaves it paused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..common.errors import AtelierError
from ..common.messages import Message
from ..common.models import Status
from ..containers.container import container_of, is_unreleased
from ..containers.context import Context
from ..containers.snapshots import recover
from ..database.intent import wanted_up
from .service import bring_up
from .side_by_side import each_alone

# Docker's states of a container that does not run, but can.
DOWN = ("exited", "created", "dead")


@dataclass(frozen=True)
class Revived:
    """The result for one workspace. ``started`` is False if there was nothing to do."""

    id: str
    started: bool = False
    error: str | None = None


def revive(context: Context, ids: Sequence[str]) -> list[Revived]:
    """Starts those of the workspaces that should run and whose container is down or was left paused. Results and errors
    are as of ``each_alone``."""

    def failed(id: str, error: AtelierError) -> Revived:
        return Revived(id, error=error.sentence)

    def step(seat: Revived) -> Message:
        # The API waits for single seats and reads the id; the text does not show it.
        return Message("step.seats_revived", seat="" if seat.error else seat.id)

    return each_alone(context, ids, partial(_revive_one, context), failed, step)


def _revive_one(context: Context, id: str) -> Revived:
    with context.locks.workspace(id, context.lock_wait):
        row = context.store.find(id=id)
        # The previous holder of the lock may have stopped or removed it.
        if row is None or row.status is Status.CREATING or id not in wanted_up(context.store):
            return Revived(id)
        # A start would return it to the pool with the former participant's files.
        if is_unreleased(row):
            return Revived(id)
        here = context.at(row)
        container = container_of(here, row)
        if container is None:
            return Revived(id)
        undone = recover(here, row)
        is_down = container.status in DOWN
        if is_down:
            bring_up(here, row)
        return Revived(id, started=is_down or undone)
