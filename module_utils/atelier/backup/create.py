"""Makes a backup of a running installation."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ..common.atomic_files import no_space, write_atomically
from ..common.errors import AtelierError, Code
from ..common.messages import Message, as_message, read
from ..common.models import Site, Status, Workspace
from ..containers.container import SNAPSHOT_LABEL
from ..containers.context import Context, NodeContext
from ..containers.snapshots import leftover_snapshots, remove_leftover_snapshots
from ..database.lasting_errors import is_removed
from ..database.workspace_store import new_id, now
from ..engine.models import Size
from ..recordings.folders import copy_recordings
from ..workspaces.kept_containers import previous_container
from .manifest import (
    ARCHIVE,
    IMAGES,
    RECORDINGS,
    STATE,
    Manifest,
    SavedImages,
    last_copies,
    missing_tag,
    run_of,
    run_tag,
)
from .restic import Restic, Source, keep_options
from .seats import SavedSeat, batches, check_space, copy_seat, drop_copies, ends_all, ends_one_node
from .state_files import CACHE, FOLDER, MANIFEST, RESTORING, STATUS, WORK, excluded, stage_copies

# Maximum rounds in which seats that were replaced during the copying are copied again.
_ROUNDS = 3
_CHUNK = 1024**2


@dataclass(frozen=True)
class LastBackup:
    """The end of the last backup, and the time of the last good one (ISO 8601). ``error`` is a message's data."""

    ended_at: str | None = None
    succeeded_at: str | None = None
    snapshot: str | None = None
    error: Mapping[str, Any] | None = None

    @property
    def reason(self) -> Message | None:
        """Why it failed; None also for what another version noted and this one cannot read."""
        try:
            return read(self.error) if self.error else None
        except (KeyError, TypeError, AttributeError, ValueError):
            return None


def last_backup(state_dir: Path) -> LastBackup:
    try:
        return LastBackup(**json.loads((state_dir / STATUS).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return LastBackup()


def back_up(context: Context, source: Source, *, keep: Mapping[str, Any], create: bool) -> dict[str, Any]:
    """Saves the installation; people keep working. ``create`` makes the repository if there is none. Then forgets the
    backups that no rule of ``keep`` keeps; a full repository gets room by that, and the backup is tried once more.

    A seat that cannot be saved, or a machine that does not answer, does not keep the others from it; BACKUP_FAILED
    names it in the end. The last backup that has it is kept, whatever the rules. Also raises VALIDATION_ERROR for wrong
    settings, WORKSPACE_BUSY while another backup is made or restored, DISK_FULL, SERVICE_UNAVAILABLE. Returns what the
    module ``backup`` does; ``warnings`` name seats that were paused for long.
    """
    state_dir = context.site.state_dir
    variables = source.check(state_dir)
    keep_options(keep)
    with context.locks.backup():
        if (state_dir / RESTORING).exists():
            # The backup would have no workspaces, and could delete the one that is being restored.
            raise AtelierError(Code.WORKSPACE_BUSY, Message("held.restore"))
        (state_dir / FOLDER).mkdir(mode=0o700, exist_ok=True)
        restic = Restic(source, variables, _host(context.site), state_dir / CACHE)
        try:
            outcome = _back_up(context, restic, keep, create)
        except AtelierError as error:
            if error.code is not Code.DISK_FULL or error.details.get("field") != "repository":
                raise
            forgotten = _forget(restic, keep, always_prune=True)
            if not forgotten:
                raise
            outcome = _back_up(context, restic, keep, create)
            outcome["forgotten"] += forgotten
        _note(state_dir, outcome["snapshot"])
    return outcome


@contextmanager
def _work_folder(state_dir: Path) -> Iterator[Path]:
    work = state_dir / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def failures_noted(state_dir: Path) -> Iterator[None]:
    """Notes for ``last_backup`` with what the block ends, if that is an error."""
    try:
        yield
    except Exception as error:
        note_failure(state_dir, _reason(error))
        raise


def note_failure(state_dir: Path, why: Message) -> None:
    """Notes that a backup failed for ``last_backup``; a full disk may have no room for that."""
    with suppress(OSError):
        _note(state_dir, error=why.data())


def _reason(error: Exception) -> Message:
    known = (no_space(error) if isinstance(error, OSError) else None) or error
    return known.sentence if isinstance(known, AtelierError) else as_message(f"{type(error).__name__}: {error}")


def _back_up(context: Context, restic: Restic, keep: Mapping[str, Any], create: bool) -> dict[str, Any]:
    created = restic.open(create=create)
    restic.check_owner(STATE)
    with _work_folder(context.site.state_dir) as work:
        saved = _Backup(context, restic, work)
        snapshot = saved.store()
    forgotten = _forget(restic, keep)
    if saved.missing:
        names = sorted(row.name for row in context.store.all() if row.id in saved.missing)
        why = Message("backup.seats_failed", names=", ".join(names), why=next(iter(saved.missing.values())))
        raise AtelierError(Code.BACKUP_FAILED, why, field="site", seats=saved.missing, snapshot=snapshot[:8])
    if saved.away:
        why = Message("backup.machines_away", nodes=", ".join(saved.away), why=next(iter(saved.away.values())))
        raise AtelierError(Code.BACKUP_FAILED, why, field="site.nodes", nodes=saved.away, snapshot=snapshot[:8])
    return {
        "snapshot": snapshot,
        "workspaces": len(saved.seats),
        "created": created,
        "forgotten": forgotten,
        "warnings": [seat.warning for seat in saved.seats.values() if seat.warning],
    }


@dataclass
class _Backup:
    """A backup under way, with what it has saved: ``seats`` and why others are ``missing``, by workspace id;
    ``recordings`` by machine, and why those in ``away`` did not answer."""

    context: Context
    restic: Restic
    work: Path
    run_id: str = field(default_factory=new_id)
    seats: dict[str, SavedSeat] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    archives: list[SavedImages] = field(default_factory=list)
    recordings: dict[str, str] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)

    def store(self) -> str:
        """Saves the workspaces, then the state folder; returns the id of its snapshot."""
        site, progress = self.context.site, self.context.progress
        self.save_seats()
        self.save_recordings()
        progress(Message("step.backup_files"), 0, 1)
        taken_at = now()
        databases, repositories = stage_copies(site.state_dir, self.work)
        Manifest(
            taken_at=taken_at,
            instance=site.instance,
            image_prefix=site.image_prefix,
            archives=self.archives,
            images={id: seat.image for id, seat in self.seats.items()},
            missing=self.missing,
            databases=databases,
            repositories=repositories,
            recordings=self.recordings,
        ).write(self.work / MANIFEST)
        lacking = {row.id for row in self.context.store.all()} - self.seats.keys() | self.away.keys()
        tags = [STATE, run_tag(self.run_id), *(missing_tag(name) for name in sorted(lacking))]
        snapshot = self.restic.store_folder(site.state_dir, excluded(site.state_dir, databases), tags)
        progress(Message("step.backup_files"), 1, 1)
        return snapshot

    def save_seats(self) -> None:
        nodes = self.context.site.node_names
        self.context.at_each(_clear)
        with self.context.locks.batch(self.run_id):
            for _ in range(_ROUNDS):
                found = [self._save_machine(node) for node in nodes]
                if not any(found):
                    break
            for row in self.context.store.all():
                if row.node not in nodes and not is_removed(row):
                    self.missing[row.id] = Message("docker.node_unknown", node=row.node)
        self.context.at_each(_clear)

    def save_recordings(self) -> None:
        """Saves the recordings of nodes; the controller's are files of the state folder."""
        site = self.context.site
        for node in site.nodes:
            with self._noted_if_away(node.name), TemporaryFile(dir=self.work) as file:
                # Write to a file first: while Docker reads a container's files, it answers no other request for it.
                if copy_recordings(site, self.context.on(node.name).engine, file):
                    file.seek(0)
                    pieces = iter(partial(file.read, _CHUNK), b"")
                    self.recordings[node.name] = self._store_stream(RECORDINGS, pieces)

    def _store_stream(self, name: str, pieces: Iterable[bytes]) -> str:
        return self.restic.store_stream(name, pieces, [IMAGES, run_tag(self.run_id)])

    @contextmanager
    def _noted_if_away(self, node: str) -> Iterator[None]:
        """Notes that the node does not answer, or fails, and that its workspaces are missing for it."""
        try:
            yield
        except AtelierError as error:
            if not ends_one_node(error, node):
                raise
            self.away[node] = error.sentence
            rows = [row for row in self.context.store.all() if row.node == node and row.id not in self.seats]
            self.missing |= dict.fromkeys((row.id for row in rows), error.sentence)

    def _save_machine(self, node: str) -> bool:
        """Saves the workspaces of a machine that are not saved as they are; whether there were any."""
        with self._noted_if_away(node):
            here = self.context.on(node)
            left = self._changed(here)
            sizes = here.engine.sizes(f"atelier.instance={here.site.instance}") if left else {}
            for batch in batches(left, sizes, here.site.container_name):
                for part in self._with_room(here, batch, sizes):
                    self._save_batch(here, part)
            self.away.pop(node, None)
            return bool(left)
        return False

    def _changed(self, here: NodeContext) -> list[Workspace]:
        """The machine's workspaces whose container is not the one that was saved: those that were made, reset or moved
        meanwhile. One that is being made has no files that count."""
        present = {found.name: found.id for found in here.engine.containers(f"atelier.instance={here.site.instance}")}
        rows = {row.id: row for row in here.store.all() if row.status is not Status.CREATING}
        self.seats = {id: seat for id, seat in self.seats.items() if id in rows}
        self.missing = {id: why for id, why in self.missing.items() if id in rows}

        def is_saved(id: str) -> bool:
            container = present.get(here.site.container_name(id))
            if container is None:
                return previous_container(here, id) is None
            return id in self.seats and self.seats[id].container == container

        return [row for id, row in rows.items() if row.node == here.node and not is_saved(id)]

    def _with_room(
        self, here: NodeContext, batch: Sequence[Workspace], sizes: dict[str, Size]
    ) -> Iterator[Sequence[Workspace]]:
        """The batch if Docker's disk has room for it now, otherwise its workspaces one by one. Those that have no room
        alone are missing."""
        try:
            check_space(here, batch, sizes)
        except AtelierError as error:
            if error.code is not Code.DISK_FULL:
                raise
            if len(batch) == 1:
                self.missing[batch[0].id] = error.sentence
                return
            for row in batch:
                yield from self._with_room(here, [row], sizes)
        else:
            yield batch

    def _save_batch(self, here: NodeContext, batch: Sequence[Workspace]) -> None:
        copies: dict[str, SavedSeat] = {}
        try:
            for row in batch:
                self.missing.pop(row.id, None)
                try:
                    copy = copy_seat(here, row, self.run_id, self.work)
                except AtelierError as error:
                    if ends_all(error, here.node):
                        raise
                    self.missing[row.id] = error.sentence
                    continue
                if copy is not None:
                    copies[row.id] = copy
                here.progress(Message("step.backup_seats"), len(self.seats) + len(copies), len(here.store.all()))
            # Checkpoints that were dropped meanwhile would make Docker refuse all.
            present = here.engine.image_tags(SNAPSHOT_LABEL) if copies else ()
            tags = [tag for copy in copies.values() for tag in copy.tags if tag == copy.image or tag in present]
            if tags:
                snapshot = self._store_stream(ARCHIVE, here.engine.save(tags))
                self.archives.append(SavedImages(snapshot, tags, here.node))
                self.seats |= copies
        finally:
            drop_copies(here, copies.values())


def _clear(here: NodeContext) -> None:
    """Removes copies of runs that were killed; Docker may have completed one only now."""
    with suppress(AtelierError):
        remove_leftover_snapshots(here, leftover_snapshots(here))


def _forget(restic: Restic, keep: Mapping[str, Any], *, always_prune: bool = False) -> int:
    """Forgets the backups that no rule keeps, unless they have the last copy of what the newest lacks, and images whose
    backup is gone or was never completed; returns how many backups. ``always_prune`` also frees what a failed attempt
    stored without a snapshot."""
    backups = restic.snapshots(STATE)
    forgotten = set(restic.forgettable(STATE, keep)) - last_copies(backups)
    runs = {run_of(backup) for backup in backups if backup["id"] not in forgotten}
    useless = {str(found["id"]) for found in restic.snapshots(IMAGES) if run_of(found) not in runs}
    if forgotten or useless or always_prune:
        restic.remove([*forgotten, *useless])
    return len(forgotten)


def _host(site: Site) -> str:
    """The restic host name of an installation's backups, the same on the machine that it is restored on."""
    return f"{site.instance}-{hashlib.sha256(site.names_key or b'').hexdigest()[:8]}"


def _note(state_dir: Path, snapshot: str | None = None, error: Mapping[str, Any] | None = None) -> None:
    (state_dir / FOLDER).mkdir(mode=0o700, exist_ok=True)
    noted = replace(last_backup(state_dir), ended_at=now(), error=error)
    if snapshot:
        noted = replace(noted, succeeded_at=noted.ended_at, snapshot=snapshot)
    write_atomically(state_dir / STATUS, json.dumps(asdict(noted)).encode(), mode=0o600)
