"""Removes collected workspaces without losing newer work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError, faults_of
from ..common.messages import Message
from ..common.models import Workspace
from ..containers.container import container_of
from ..containers.context import Context, NodeContext
from ..containers.snapshots import paused_for_copy, recover
from ..engine.models import Container
from ..workspaces.service import remove
from .archive_freshness import late_work
from .collect import WORKERS, check_collected
from .manifest import Entry, fault_of, read_manifest


@dataclass(frozen=True)
class Removed:
    """The names of the removed workspaces, and sentences on what could not be removed with them."""

    names: Sequence[str]
    problems: Sequence[str]


def remove_collected(context: Context, ids: Sequence[str], folder: Path, *, check_mode: bool = False) -> Removed:
    """Removes these workspaces, and their entries in the folder; unknown ids count as removed.

    Each is paused from the check of its files to its end, so no work is lost in between. A workspace with work newer
    than its archive, or that cannot be checked, continues as before; the others are removed. Then NOT_COLLECTED is
    raised.
    """
    rows = [row for id in dict.fromkeys(ids) if (row := context.store.find(id=id)) is not None]
    if check_mode:
        return Removed([row.name for row in rows], ())
    entries = read_manifest(folder)
    faults: list[str | None] = []
    problems: list[str] = []

    def remove_one(row: Workspace) -> str | None:
        try:
            with faults_of(row.name), context.locks.workspace(row.id, context.lock_wait):
                return _remove_held(context.left_of(row), folder, row, entries.get(row.id), problems)
        except AtelierError as error:
            return Message("fault.not_removed", why=error.message)

    with ThreadPoolExecutor(WORKERS) as pool:
        for fault in pool.map(remove_one, rows):
            faults.append(fault)
            context.progress(Message("step.seats_removed"), len(faults), len(rows))
    check_collected(folder, rows, faults)
    return Removed([row.name for row in rows], problems)


def _remove_held(
    context: NodeContext, folder: Path, row: Workspace, entry: Entry | None, problems: list[str]
) -> str | None:
    """Why the seat was not removed; None when it was. The caller holds its lock."""
    if context.store.find(id=row.id) is None:
        return None
    recover(context, row)
    # Do not read it here: ``verify`` just did, and the comparison with the seat reads it again.
    fault = fault_of(folder, entry, read=False)
    if fault or entry is None:
        return fault
    container = container_of(context, row)
    if container is None:
        problems += remove(context, row)
        return None
    with _halted(context, row, container):
        fault = late_work(context, row, folder, entry)
        if fault is None:
            problems += remove(context, row)
    return fault


@contextmanager
def _halted(context: NodeContext, row: Workspace, container: Container) -> Iterator[None]:
    """Stops the seat for the block. Afterwards its former state is restored, if it still exists."""
    if container.status != "restarting":
        with paused_for_copy(context, row, container):
            yield
        return
    # Docker may start it at any moment, and can't pause it.
    context.engine.stop(container.id)
    try:
        yield
    finally:
        # If this run is killed in between, the API starts it, because it is still wanted.
        if context.engine.inspect(container.id) is not None:
            context.engine.start(container.id)
