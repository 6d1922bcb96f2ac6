"""Restores a backup, in three steps, each of which can be repeated:

1. ``fetch_backup`` reads and checks everything, and changes nothing but a folder beside the state folder.
2. ``place_backup`` puts the state folder's files in place. Then the playbook sets up the platform with them.
3. ``restore_seats`` loads the images and creates the containers of all workspaces.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code, faults_of, invalid
from ..common.locks import Locks
from ..common.messages import Message
from ..common.models import ProxyMode, Site, Status, Workspace
from ..containers.context import Context, Progress
from ..database.intent import wanted_up
from ..database.job_store import Jobs, JobState
from ..database.lasting_errors import is_removed
from ..database.migrations import VERSION, nodes_of
from ..database.workspace_store import WorkspaceStore
from ..recordings.folders import put_recordings
from .manifest import (
    ARCHIVE,
    RECORDINGS,
    STATE,
    Manifest,
    SavedImages,
    check_machines,
    newer,
    other_setting,
    read_manifest,
)
from .restic import Restic, Source
from .seats import drop_loaded, ends_all, ends_one_node, make_seat_again
from .state_files import MANIFEST, REGISTRY, RESTORING, WORK, place_registry, place_state, registry_copy

_AT_ONCE = 4
# Marks, in the restore's folder, that the installation is an incomplete restore, which may be removed.
_BEGUN = "begun"


def restore_folder(site: Site) -> Path:
    """The folder of a restore that is under way."""
    return site.state_dir.with_name(f"{site.state_dir.name}.restore")


def fetch_backup(
    site: Site,
    source: Source,
    snapshot: str | None,
    progress: Progress,
    newer_version: Callable[[Path], str | None],
    *,
    replace: bool,
) -> dict[str, Any]:
    """Reads the backup, the newest or the named one, and checks all its data, the settings, and that nothing is lost.
    ``newer_version`` returns the version that made a state folder if it is newer than this one. ``replaces`` of the
    result says whether there is an installation, which must be removed before the next step.

    Raises VALIDATION_ERROR for a wrong password, repository, snapshot or setting, for a backup of a newer Atelier, and
    for an installation with workspaces unless ``replace``; WORKSPACE_BUSY while a backup is made of it, which may
    forget the one that is read; BACKUP_FAILED for a damaged repository; DISK_FULL.
    """
    variables, folder = source.check(site.state_dir), restore_folder(site)
    begun = (folder / _BEGUN).exists()
    holds = _holds(site.state_dir)
    if holds and not (replace or begun):
        raise invalid("backup.has_workspaces", "replace", count=holds)
    with ExitStack() as held:
        if (site.state_dir / REGISTRY).exists():
            held.enter_context(Locks(site.state_dir).backup())
        chosen = _fetch(site, source, variables, snapshot, progress)
    saved = _saved(site)
    if (version := newer_version(saved)) is not None:
        raise newer(version)
    manifest = read_manifest(saved / WORK / MANIFEST)
    manifest.check(site)
    count = _check_database(site, registry_copy(saved / WORK))
    replaces = begun or any(site.state_dir.glob("*"))
    return {"snapshot": chosen, "taken_at": manifest.taken_at, "workspaces": count, "replaces": replaces}


def _fetch(site: Site, source: Source, variables: Mapping[str, str], snapshot: str | None, progress: Progress) -> str:
    """Reads all of the backup, and keeps its files in the restore's folder; returns its id."""
    folder = restore_folder(site)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    restic = Restic(source, variables, "", folder / "cache")
    restic.open(create=False)
    restic.check()
    chosen = _chosen(restic, source, snapshot)
    read = folder / "snapshot"  # has the id of the backup that was read completely
    if not read.exists() or read.read_text() != chosen:
        progress(Message("step.restore_read"), 0, 1)
        # Remove the mark first, so that it never refers to deleted files.
        read.unlink(missing_ok=True)
        shutil.rmtree(folder / "files", ignore_errors=True)
        try:
            restic.restore(chosen, folder / "files")
            manifest = read_manifest(_saved(site) / WORK / MANIFEST)
            streams = [(archive.snapshot, ARCHIVE) for archive in manifest.archives]
            streams += [(snapshot, RECORDINGS) for snapshot in manifest.recordings.values()]
            for number, stream in enumerate(streams):
                progress(Message("step.restore_read"), number + 1, len(streams) + 1)
                for _ in restic.read(*stream):
                    pass
        except AtelierError as error:
            raise restic.damaged(error.message) if error.code is Code.BACKUP_FAILED else error from error
        write_atomically(read, chosen.encode(), mode=0o600)
    return chosen


def place_backup(site: Site) -> None:
    """Puts the fetched files into the state folder, and the database with all its operations ended."""
    (restore_folder(site) / _BEGUN).touch()
    saved = _saved(site)
    manifest = read_manifest(saved / WORK / MANIFEST)
    place_state(saved, manifest, site.state_dir)
    mark = site.state_dir / RESTORING
    mark.parent.mkdir(mode=0o700, exist_ok=True)
    mark.touch()
    place_registry(saved, site.state_dir)
    with WorkspaceStore(site.state_dir, site.networks, site.quotas) as store:
        jobs = Jobs(store)
        for job in jobs.unfinished():
            why = Message("backup.job_not_resumed")
            jobs.finish(job.id, JobState.CANCELED, why)
            for id in job.project_ids if job.operation == "release" else ():
                # Its claim has ended, and it may have its participant's files.
                store.update(id, unreleased=why)
        for row in store.all():
            if row.status is Status.CREATING:
                store.update(row.id, status=Status.ERROR, error=Message("run_ended_before"))


def restore_seats(context: Context, source: Source) -> dict[str, Any]:
    """Creates the containers of all workspaces, not started, from their images. One that cannot be created does not
    keep the others from it: its error says why, and its name is ``missing`` in the result. ``ids`` are the workspaces
    that should run, ``unrecorded`` the machines whose recordings are missing. Raises BACKUP_FAILED, DISK_FULL,
    SERVICE_UNAVAILABLE."""
    work = _saved(context.site) / WORK
    manifest = read_manifest(work / MANIFEST)
    restic = Restic(source, source.check(context.site.state_dir), "", restore_folder(context.site) / "cache")
    rows = context.store.all()
    with ExitStack() as held:
        held.enter_context(context.locks.backup())
        # Hold the runs' locks, so that concurrent snapshots do not remove the images.
        for run in {tag.rpartition("-")[2] for tag in manifest.images.values()}:
            held.enter_context(context.locks.batch(run))
        _load(context, restic, manifest, rows)
        unrecorded = _load_recordings(context, restic, manifest)
        wanted = wanted_up(context.store)
        made: set[str] = set()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            results = pool.map(partial(_make, context, manifest, work), rows)
            for done, (row, is_made) in enumerate(zip(rows, results, strict=True), 1):
                if is_made:
                    made.add(row.id)
                context.progress(Message("step.restore_seats"), done, len(rows))
        for archive in manifest.archives:
            for node in _nodes_of(archive, manifest, rows):
                with _unless_it_fails(node):
                    drop_loaded(context.on(node), [tag for tag in archive.tags if "/snapshot:" in tag])
        context.sync_routes()
        (context.site.state_dir / RESTORING).unlink(missing_ok=True)
    missing = [row.name for row in rows if row.id not in made]
    return {"ids": sorted(wanted & made), "workspaces": len(rows), "missing": missing, "unrecorded": unrecorded}


def _make(context: Context, manifest: Manifest, work: Path, row: Workspace) -> bool:
    """Creates the workspace's container; returns False if that fails, with the reason in the row's error."""
    image, why = manifest.images.get(row.id), None
    # One that was saved is of a machine that joined again.
    if is_removed(row) and (image is None or row.node not in context.site.node_names):
        return False
    if image is None:
        why = Message("backup.not_saved", why=manifest.missing.get(row.id) or Message("container_gone"))
    else:
        try:
            with faults_of(row.name):
                make_seat_again(context.at(row), row, image, work)
            # Its files are the backup's from now on.
            context.store.end_beginning(row.id)
        except AtelierError as error:
            if ends_all(error, row.node):
                raise
            why = Message("backup.not_restored", why=error.message)
    context.store.update(row.id, status=Status.ERROR if why else Status.STOPPED, error=why)
    return why is None


def _nodes_of(archive: SavedImages, manifest: Manifest, rows: Sequence[Workspace]) -> set[str]:
    """The machines whose workspaces have their images in the archive, including those that a workspace moved to after
    the copy."""
    return {archive.node} | {row.node for row in rows if manifest.images.get(row.id) in archive.tags}


def _load(context: Context, restic: Restic, manifest: Manifest, rows: Sequence[Workspace]) -> None:
    for number, archive in enumerate(manifest.archives):
        context.progress(Message("step.restore_images"), number, len(manifest.archives))
        for node in _nodes_of(archive, manifest, rows):
            with _unless_it_fails(node):
                engine = context.on(node).engine
                if any(engine.image(tag) is None for tag in archive.tags):
                    engine.load(restic.read(archive.snapshot, ARCHIVE))


def _load_recordings(context: Context, restic: Restic, manifest: Manifest) -> list[str]:
    """Restores the recordings; returns the machines whose recordings are missing."""
    missing = set(manifest.recordings)
    for node, snapshot in manifest.recordings.items():
        with _unless_it_fails(node):
            if put_recordings(context.site, context.on(node).engine, restic.read(snapshot, RECORDINGS)):
                missing.remove(node)
    return sorted(missing)


@contextmanager
def _unless_it_fails(node: str) -> Iterator[None]:
    """Ignores a node's failure: its workspaces are marked with the reason when they are created."""
    try:
        yield
    except AtelierError as error:
        if not ends_one_node(error, node):
            raise


def _saved(site: Site) -> Path:
    """The backup's state folder: the one with a manifest. Its path may differ from this installation's."""
    files = restore_folder(site) / "files"
    same = files / site.state_dir.relative_to("/")
    if (same / WORK / MANIFEST).exists():
        return same
    found = next(files.glob(f"**/{WORK}/{MANIFEST}"), None)
    if found is None:
        raise AtelierError(Code.BACKUP_FAILED, Message("backup.no_manifest"), field="snapshot")
    return found.parents[2]


def _holds(state_dir: Path) -> int:
    """Counts what a restore would destroy: workspaces and their archives. A damaged database counts as one."""
    count = sum(1 for _ in (state_dir / "archives").glob("*"))
    if (state_dir / REGISTRY).exists():
        try:
            with closing(sqlite3.connect(state_dir / REGISTRY, timeout=30)) as db:
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'workspaces'").fetchone():
                    count += db.execute("SELECT count(*) FROM workspaces").fetchone()[0]
        except sqlite3.DatabaseError:
            count += 1
    return count


def _chosen(restic: Restic, source: Source, snapshot: str | None) -> str:
    """The full id of the snapshot to restore."""
    found = restic.snapshots(STATE)
    ids = [str(entry["id"]) for entry in found]
    newest = snapshot in (None, "", "latest")
    chosen = ids[-1:] if newest else [id for id in ids if id.startswith(str(snapshot))]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(f"{entry['short_id']} ({str(entry['time'])[:16]})" for entry in found[-20:]) or "-"
    asked, repository = snapshot or "latest", source.repository
    value = str(snapshot)[:64]
    raise invalid("backup.no_snapshot", "snapshot", snapshot=asked, repository=repository, names=names, value=value)


def _check_database(site: Site, copy: Path) -> int:
    """Returns the number of workspaces. Raises VALIDATION_ERROR if a newer Atelier wrote the database, or if a
    workspace's machine, unless that was removed, address or egress mode is not part of this installation's settings."""
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise newer(f"schema {version}")
        check_machines(site, nodes_of(db))
        rows = db.execute("SELECT proxy_mode, address FROM workspaces").fetchall()
    for mode, address in rows:
        network = site.networks.get(ProxyMode(mode))
        if network is None:
            raise other_setting("atelier_enable_proxy", "false", "true")
        if IPv4Address(address) not in network.subnet:
            setting = f"atelier_network_{mode if ProxyMode(mode).proxy else 'open'}_subnet"
            raise other_setting(setting, network.subnet, f"a network with {address}")
    return len(rows)
