"""The end of a workshop: commits, pushes and archives the work of each seat, verifies the archives, and removes the
seats without losing newer work.

Seats are collected in parallel, in any state, and fail independently. The manifest is rewritten after each seat, so a
killed run loses nothing, and another run completes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import AtelierError, Code, faults_of, invalid
from ..common.messages import Message, chain
from ..common.models import Workspace
from ..containers.container import observed_status
from ..containers.context import Context, NodeContext
from ..containers.save_work import Saved, save_work
from ..containers.snapshots import paused_for_copy
from ..database.workspace_store import now
from ..engine.models import Container
from ..workspaces.kept_containers import recovered
from ..workspaces.service import remove
from .archive_freshness import late_work, rest_of
from .archives import remove_unfinished, write_archive
from .manifest import Entry, fault_of, read_manifest, write_manifest
from .tar_stream import within

# Docker reads, zstd and SHA-256 work without the interpreter's lock, git works in the seat.
_WORKERS = 6
_WORKSPACE = "/workspace"
# Maximum number of uncollected seats that a sentence names.
_SHOWN = 5
_PUSHED_BY_NOBODY = Saved(note=Message("at_rest"))


@dataclass(frozen=True)
class Collected:
    """``seats`` in the requested order; ``changed``: whether any archive is new."""

    changed: bool
    seats: Sequence[Entry]


def collect(context: Context, ids: Sequence[str], folder: Path, *, check_mode: bool = False) -> Collected:
    """Collects the workspaces with these ids into the folder, which is created if missing.

    Raises PROJECT_NOT_FOUND for an unknown id, VALIDATION_ERROR for an unusable folder, WORKSPACE_BUSY if another run
    uses it. Errors of a seat are in its entry's ``error``.
    """
    rows = [context.store.get(id=id, field="ids") for id in dict.fromkeys(ids)]
    if check_mode:
        known = read_manifest(folder)
        return Collected(True, [known.get(row.id, Entry(row.id, row.name, str(row.status))) for row in rows])
    with _folder(context, folder):
        entries = read_manifest(folder)
        before = {id: entry.sha256 for id, entry in entries.items()}
        with ThreadPoolExecutor(min(_WORKERS, len(rows)) or 1) as pool:
            futures = [pool.submit(_collect_one, context, folder, row, entries.get(row.id)) for row in rows]
            for done, future in enumerate(as_completed(futures), 1):
                entry = future.result()
                entries[entry.id] = entry
                write_manifest(folder, context.site.instance, now(), entries.values())
                # Only now, because until here the manifest named the older one.
                _remove_others(folder, entry)
                context.progress(Message("step.seats_collected"), done, len(rows))
    seats = [entries[row.id] for row in rows]
    return Collected(any(seat.sha256 != before.get(seat.id) for seat in seats), seats)


def verify(context: Context, ids: Sequence[str], folder: Path) -> Collected:
    """Verifies the archives of these workspaces, and checks the seats for newer changes. Raises NOT_COLLECTED if the
    manifest lacks one of them, its archive is unusable, or older than its work."""
    rows = [context.store.get(id=id, field="ids") for id in dict.fromkeys(ids)]
    entries = read_manifest(folder)

    def fault(row: Workspace) -> str | None:
        entry = entries.get(row.id)
        found = fault_of(folder, entry)
        return found if found or entry is None else late_work(context, row, folder, entry)

    with ThreadPoolExecutor(_WORKERS) as pool:
        faults = list(pool.map(fault, rows))
    _check_collected(folder, rows, faults)
    return Collected(False, [entries[row.id] for row in rows])


def _check_collected(folder: Path, rows: Sequence[Workspace], faults: Sequence[str | None]) -> None:
    """Raises NOT_COLLECTED if a workspace has a fault."""
    missing = [(row.name, fault) for row, fault in zip(rows, faults, strict=True) if fault]
    if not missing:
        return
    shown = [Message("fault", name=name, fault=fault) for name, fault in missing[:_SHOWN]]
    if len(missing) > _SHOWN:
        shown.append(Message("and_more", count=len(missing) - _SHOWN))
    params = {"missing": len(missing), "total": len(rows), "folder": folder, "faults": chain("list", shown)}
    names = [name for name, _ in missing]
    raise AtelierError(Code.NOT_COLLECTED, Message("not_collected", **params), field="ids", missing=names)


def _collect_one(context: Context, folder: Path, row: Workspace, before: Entry | None) -> Entry:
    try:
        with faults_of(row.name), context.locks.workspace(row.id, context.lock_wait):
            return _collect_held(context.left_of(row), folder, row, before)
    except AtelierError as error:
        entry = before or Entry(row.id, row.name, str(row.status))
        return replace(entry, name=row.name, error=error.message)


def _collect_held(context: NodeContext, folder: Path, row: Workspace, before: Entry | None) -> Entry:
    row, container = recovered(context, row)
    status, _ = observed_status(row, container)
    entry = Entry(row.id, row.name, str(status), collected_at=now(), repository=row.repository, branch=row.branch)
    if container is None:
        return _of_one_that_is_gone(entry, before)
    saved = save_work(context, row) if container.status == "running" else _PUSHED_BY_NOBODY
    with ExitStack() as held:
        # Paused, so that the archive is consistent.
        held.enter_context(paused_for_copy(context, row, container))
        limits = context.site.archive
        chunks = held.enter_context(closing(context.engine.stream(container.id, _WORKSPACE, limits.seconds)))
        # Changes from now on are newer than the archive.
        moment = now()

        def content() -> Iterator[bytes]:
            yield from within(chunks, limits, row.name)
            # The seat continues while the archive is verified.
            held.close()

        archive = write_archive(folder, content(), lambda digest: _file_name(row, digest))
    return replace(
        entry,
        collected_at=moment,
        container=container.id,
        rested=rest_of(container),
        former=_former(before, container.id, archive.file),
        **vars(archive),
        **vars(replace(saved, branch=saved.branch or entry.branch)),
    )


def _of_one_that_is_gone(entry: Entry, before: Entry | None) -> Entry:
    """The entry of a seat without a container: only its older archive exists, so it is kept."""
    if before is None or before.file is None:
        return replace(entry, note=Message("nothing_left"))
    note = Message("older_archive", when=before.collected_at)
    return replace(before, name=entry.name, state=entry.state, note=note, error=None)


def _former(before: Entry | None, container: str, file: str) -> tuple[str, ...]:
    """The archives that the new one does not replace: those of the seat's previous containers."""
    if before is None:
        return ()
    ended = [before.file] if before.file is not None and before.container != container else []
    return tuple(name for name in dict.fromkeys([*before.former, *ended]) if name != file)


def _file_name(row: Workspace, digest: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", row.name)
    return f"{plain}_{row.id}_{digest[:12]}.tar.zst"


def _remove_others(folder: Path, entry: Entry) -> None:
    """Removes older archives of the seat's container if there is a newer one; otherwise they may be all that is
    left."""
    if entry.file is None:
        return
    for path in folder.glob(f"*_{entry.id}_*.tar.zst"):
        if path.name != entry.file and path.name not in entry.former:
            path.unlink(missing_ok=True)


@contextmanager
def _folder(context: Context, folder: Path) -> Iterator[None]:
    """Creates the folder and locks it for the block."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise invalid("folder_not_made", "folder", folder=folder, why=error.strerror) from error
    with context.locks.archives(folder, context.lock_wait):
        remove_unfinished(folder)
        yield


def remove_collected(
    context: Context, ids: Sequence[str], folder: Path, *, check_mode: bool = False
) -> tuple[list[str], list[str]]:
    """Removes these workspaces; unknown ids count as removed. Returns the names of the removed ones, and sentences on
    what could not be removed with them.

    Each is paused from the check of its files to its end, so no work is lost in between. A workspace with work newer
    than its archive, or that cannot be checked, continues as before; the others are removed. Then NOT_COLLECTED is
    raised.
    """
    rows = [row for id in dict.fromkeys(ids) if (row := context.store.find(id=id)) is not None]
    if check_mode:
        return [row.name for row in rows], []
    entries = read_manifest(folder)
    faults: list[str | None] = []
    problems: list[str] = []

    def remove_one(row: Workspace) -> str | None:
        try:
            with faults_of(row.name), context.locks.workspace(row.id, context.lock_wait):
                return _remove_held(context.left_of(row), folder, row, entries.get(row.id), problems)
        except AtelierError as error:
            return Message("fault.not_removed", why=error.message)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for fault in pool.map(remove_one, rows):
            faults.append(fault)
            context.progress(Message("step.seats_removed"), len(faults), len(rows))
    _check_collected(folder, rows, faults)
    return [row.name for row in rows], problems


def _remove_held(
    context: NodeContext, folder: Path, row: Workspace, entry: Entry | None, problems: list[str]
) -> str | None:
    """Why the seat was not removed; None when it was. The caller holds its lock."""
    if context.store.find(id=row.id) is None:
        return None
    # The container of before an interrupted reset has the seat's work; the removal takes along what has the name of a
    # kept one.
    row, container = recovered(context, row)
    # Do not read it here: ``verify`` just did, and the comparison with the seat reads it again.
    fault = fault_of(folder, entry, read=False)
    if fault or entry is None:
        return fault
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
