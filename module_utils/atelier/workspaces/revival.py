"""Restarts workspaces that should run: after a crash Docker marks the containers that it stopped as manually
stopped, and a run that was killed while it copied a workspace leaves it paused."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from ..common.errors import AtelierError, faults_of
from ..common.messages import Message
from ..common.models import Status
from ..containers.container import is_unreleased
from ..containers.context import Context
from ..containers.snapshots import recover
from ..database.intent import wanted_up
from ..engine.docker_errors import is_engine_away
from .service import bring_up

# A starting IDE keeps a core busy for most of a second: more at once only wait for each other.
_PER_CORE = 3
# Docker's states of a container that does not run, but can.
DOWN = ("exited", "created", "dead")


@dataclass(frozen=True)
class Revived:
    """The result for one workspace. ``started`` is False if there was nothing to do."""

    id: str
    started: bool = False
    error: str | None = None


def revive(context: Context, ids: Sequence[str]) -> list[Revived]:
    """Starts those of the workspaces that should run and whose container is down or was left paused, side by side, and
    returns what became of each in the order given. One that fails fails alone. Raises SERVICE_UNAVAILABLE where the
    engine went away."""
    if not ids:
        return []
    with ThreadPoolExecutor(min(_PER_CORE * context.cpus(), len(ids))) as pool:
        futures = [pool.submit(_revive_one, context, id) for id in ids]
        for done, future in enumerate(as_completed(futures), 1):
            # The API waits for single seats and reads the id; the text does not show it.
            seat = "" if future.exception() or future.result().error else future.result().id
            context.progress(Message("step.seats_revived", seat=seat), done, len(ids))
    return [future.result() for future in futures]


def _revive_one(context: Context, id: str) -> Revived:
    try:
        with faults_of(id), context.locks.workspace(id, context.lock_wait):
            row = context.store.find(id=id)
            # The previous holder of the lock may have stopped or removed it.
            if row is None or row.status is Status.CREATING or id not in wanted_up(context.store):
                return Revived(id)
            # A start would return it to the pool with the former participant's files.
            if is_unreleased(row):
                return Revived(id)
            here = context.at(row)
            container = here.engine.inspect(context.site.container_name(id))
            if container is None:
                return Revived(id)
            undone = recover(here, row)
            is_down = container.status in DOWN
            if is_down:
                bring_up(here, row)
            return Revived(id, started=is_down or undone)
    except AtelierError as error:
        if is_engine_away(error):
            raise
        return Revived(id, error=error.sentence)
