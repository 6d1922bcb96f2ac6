"""Removes collected workspaces without losing newer work."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError
from ..common.messages import Message
from ..common.models import Workspace
from ..containers.container import container_of
from ..containers.context import Context, NodeContext
from ..containers.snapshots import paused_for_copy, recover, was_interrupted
from ..engine.interface import Container
from ..workspaces.service import remove
from .archive_freshness import late_work
from .collect import WORKERS, not_collected
from .manifest import Entry, fault_of, read_manifest


@dataclass(frozen=True)
class Removed:
    """The names of the workspaces that there were, and sentences on what could not be done beside their removal."""

    changed: bool
    names: Sequence[str]
    problems: Sequence[str]


def remove_collected(context: Context, ids: Sequence[str], folder: Path, *, check_mode: bool = False) -> Removed:
    """Removes these workspaces, each with what it holds in the folder; ids that there are not are gone already.

    Each is held still from the look at what it holds to its end, so nothing that is saved in between is lost. One whose
    work is newer than its archive, or that can't be looked at, goes on as it was; the others are removed. Raises
    NOT_COLLECTED in the end when there was one.
    """
    rows = [row for id in dict.fromkeys(ids) if (row := context.store.find(id=id)) is not None]
    if check_mode:
        return Removed(bool(rows), [row.name for row in rows], ())
    entries = read_manifest(folder)
    faults: dict[str, str] = {}
    problems: list[str] = []
    tracebacks: list[str] = []

    def remove_one(row: Workspace) -> None:
        try:
            with context.locks.workspace(row.id, context.lock_wait):
                fault = _remove_held(context.left_of(row), folder, row, entries.get(row.id), problems)
        except AtelierError as error:
            fault = Message("fault.not_removed", why=error.message)
        except Exception as error:  # noqa: BLE001 - whatever one seat makes go wrong, the others are removed
            tracebacks.append(traceback.format_exc())
            fault = Message("fault.made_fail", kind=type(error).__name__)
        if fault:
            faults[row.name] = fault

    with ThreadPoolExecutor(WORKERS) as pool:
        for done, _ in enumerate(pool.map(remove_one, rows), 1):
            context.progress(Message("step.seats_removed"), done, len(rows))
    missing = [row.name for row in rows if row.name in faults]
    if missing:
        raise not_collected(folder, [(name, faults[name]) for name in missing], len(rows), tracebacks)
    return Removed(bool(rows), [row.name for row in rows], problems)


def _remove_held(
    context: NodeContext, folder: Path, row: Workspace, entry: Entry | None, problems: list[str]
) -> str | None:
    """Why the seat was not removed; None when it was. The caller holds its lock."""
    if context.store.find(id=row.id) is None:
        return None
    if was_interrupted(context, row):
        recover(context, row)
    # Its archive was read just before (``verify``), and is read again where the seat is compared with it.
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
    """Keeps the seat from running for the block. Afterwards it goes on as it was, if it is still there."""
    if container.status != "restarting":
        with paused_for_copy(context, row, container):
            yield
        return
    # Docker may start it at any moment, and can't pause it.
    context.engine.stop(container.id)
    try:
        yield
    finally:
        # After a kill in between the API starts it: it is still wanted.
        if context.engine.inspect(container.id) is not None:
            context.engine.start(container.id)
