"""Work on several workspaces at once: passwords, and starts of those that should run.

After a crash Docker marks the containers that it stopped as manually stopped, and a run that was killed while it copied
a workspace leaves it paused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..common.errors import AtelierError, Code, faults_of
from ..common.messages import Message
from ..common.models import Status
from ..containers.container import container_of
from ..containers.context import Context
from ..containers.git_import import FETCH_SECONDS, fetch
from ..containers.snapshots import recover
from ..database.intent import wanted_up
from ..engine.docker_errors import is_engine_away
from .plan import WorkspaceSpec, WorkspaceState
from .service import bring_up, ensure

T = TypeVar("T")
R = TypeVar("R")
# A starting IDE keeps a core busy for most of a second: more at once only wait for each other.
IDES_PER_CORE = 3
# Docker's states of a container that does not run, but can.
DOWN = ("exited", "created", "dead")


def each_alone(
    context: Context,
    items: Sequence[T],
    work: Callable[[T], R],
    failed: Callable[[T, AtelierError], R],
    step: Callable[[R], Message],
    *,
    per_core: int = IDES_PER_CORE,
    name_of: Callable[[T], str] = str,
) -> list[R]:
    """Returns the results of ``work`` in the order of the items. One that fails fails alone: its result is that of
    ``failed``. ``step`` is the progress after a result; ``name_of`` an item is in the message on an unforeseen error.
    Raises SERVICE_UNAVAILABLE where the engine went away: run it again then."""

    def attempt(item: T) -> R:
        try:
            with faults_of(name_of(item)):
                return work(item)
        except AtelierError as error:
            if is_engine_away(error):
                raise
            return failed(item, error)

    if not items:
        return []
    with ThreadPoolExecutor(min(per_core * context.cpus(), len(items))) as pool:
        futures = [pool.submit(attempt, item) for item in items]
        for done, future in enumerate(as_completed(futures), 1):
            if future.exception() is None:
                context.progress(step(future.result()), done, len(items))
    return [future.result() for future in futures]


@dataclass(frozen=True)
class PasswordSet:
    """The result for one workspace's password. ``error_code`` is the code of ``error``; ``details`` name the field at
    fault and the remedy."""

    id: str
    changed: bool = False
    error: str | None = None
    error_code: Code | None = None
    details: Mapping[str, object] | None = None


def set_passwords(context: Context, hashes: Mapping[str, str], *, check_mode: bool = False) -> list[PasswordSet]:
    """Gives each workspace, by its id, the password of that argon2id hash. Results and errors are as of
    ``each_alone``."""

    def set_one(id: str) -> PasswordSet:
        wanted = WorkspaceSpec(state=WorkspaceState.PRESENT, id=id, password_hash=hashes[id], must_exist=True)
        return PasswordSet(id, ensure(context, wanted, check_mode=check_mode).changed)

    def failed(id: str, error: AtelierError) -> PasswordSet:
        return PasswordSet(id, error=error.sentence, error_code=error.code, details=error.details)

    return each_alone(context, [*hashes], set_one, failed, lambda _: Message("step.passwords_set"))


@dataclass(frozen=True)
class Revived:
    """The result for one workspace. ``started`` is False if there was nothing to do."""

    id: str
    started: bool = False
    error: str | None = None


def revive(context: Context, ids: Sequence[str]) -> list[Revived]:
    """Starts those of the workspaces that should run and whose container is down or was left paused. Results and errors
    are as of ``each_alone``."""
    # For all together: git servers that are silent must not keep the job over its limit, and the others from a start.
    fetched_by = time.monotonic() + FETCH_SECONDS

    def failed(id: str, error: AtelierError) -> Revived:
        return Revived(id, error=error.sentence)

    def step(seat: Revived) -> Message:
        # The API waits for single seats and reads the id; the text does not show it.
        return Message("step.seats_revived", seat="" if seat.error else seat.id)

    return each_alone(context, ids, partial(_revive_one, context, fetched_by), failed, step)


def _revive_one(context: Context, fetched_by: float, id: str) -> Revived:
    with context.locks.workspace(id, context.lock_wait):
        row = context.store.find(id=id)
        # The previous holder of the lock may have stopped or removed it.
        if row is None or row.status is Status.CREATING or id not in wanted_up(context.store):
            return Revived(id)
        here = context.at(row)
        container = container_of(here, row)
        if container is None:
            return Revived(id)
        undone = recover(here, row)
        is_down = container.status in DOWN
        if is_down:
            bring_up(here, row)
            if here.store.get(id=id).git_pending:
                fetch(here, row, None, max(math.ceil(fetched_by - time.monotonic()), 1))
        return Revived(id, started=is_down or undone)
