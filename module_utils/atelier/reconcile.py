"""Finds differences between Docker, the database and the gateway, and repairs them if wanted.

A repair loses no files: containers with files are adopted or marked; only incomplete objects are removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from .common.egress_modes import Capability
from .common.errors import AtelierError
from .common.messages import Message
from .common.models import CONTROLLER, Status, Workspace
from .containers.container import container_of, discard_container, is_made_again, observed_status, remove_container
from .containers.container_names import misnamed
from .containers.context import Context, NodeContext
from .containers.distribution import collect_garbage, has_garbage, withdraw
from .containers.engines import answers
from .containers.node_lists import NodeLists, has_node_lists
from .containers.snapshots import (
    forget_snapshot,
    interrupted,
    leftover_snapshots,
    leftovers_stored,
    recover,
    remove_leftover_snapshots,
)
from .database.claims import claim_times
from .database.job_store import Jobs
from .database.lasting_errors import is_removed
from .engine.docker_errors import is_engine_away
from .engine.models import Container
from .gateway.haproxy import wrong_routes
from .git.client import open_forge, seats_of
from .recordings.folders import NodeFolder, recorded_on_node
from .workshop import rehearsal
from .workspaces.checkpoints import (
    Checkpoint,
    all_checkpoints,
    drop_checkpoint,
    kept,
    leave_checkpoint,
    push_checkpoint,
    stored_checkpoints,
)
from .workspaces.import_container import row_from_container
from .workspaces.kept_containers import (
    interrupted_resets,
    is_of_interrupted_reset,
    restore_previous_container,
    stale_containers,
)
from .workspaces.views import containers_by_id

_Busy = Callable[[Workspace], bool]


@dataclass(frozen=True)
class _Node:
    """The objects on a machine: the workspaces' containers by id, container names to be changed, volumes."""

    here: NodeContext
    containers: Mapping[str, Container]
    misnamed: Mapping[str, str]
    volumes: Sequence[str]

    @classmethod
    def read(cls, here: NodeContext) -> _Node:
        label = f"atelier.instance={here.site.instance}"
        volumes, present = here.engine.volumes(label), here.engine.containers(label)
        names = misnamed(here.site, present)
        renamed = [replace(found, name=names.get(found.name, found.name)) for found in present]
        return cls(here, containers_by_id(here.site, renamed), names, volumes)


@dataclass(frozen=True)
class Drift:
    """One difference: its kind, what it concerns (an id or a name), a sentence on it, whose remedy says what the repair
    does, the repair, and the machine that this asks, if that is one."""

    kind: str
    subject: str
    message: Message
    repair: Callable[[], object]
    node: str | None = None


def repair_all(context: Context, drift: Sequence[Drift]) -> None:
    """Makes the repairs. One that fails, as when another run has begun to work on its workspace, ends no other; the
    first error is raised afterwards. Those of a machine that stops answering are left to the next run: each could wait
    for minutes. Raises SERVICE_UNAVAILABLE at once."""
    errors: list[AtelierError] = []
    silent: set[str | None] = set()
    for difference in drift:
        if difference.node in silent:
            continue
        try:
            difference.repair()
        except AtelierError as error:
            if is_engine_away(error):
                raise
            errors.append(error)
            if difference.node and not answers(context.site, difference.node):
                silent.add(difference.node)
    # Adopted and removed rows change what the routes should be.
    context.sync_routes()
    if errors:
        raise errors[0]


def find_drift(
    context: Context, abandoned_ids: Collection[str] = (), *, after_job: str | None = None, keep_hours: float = math.inf
) -> list[Drift]:
    """Returns all differences, in the order of their repair.

    ``abandoned_ids``: workspaces whose creation the ended job ``after_job`` left incomplete. Their parts are removed;
    their rows stay and carry the job's error. Containers that resets kept are removed after ``keep_hours``. Jobs run
    meanwhile, so the first steps of a creation are checked last, and each repair checks again.
    """
    nodes = context.at_each(_Node.read)
    rows = context.store.all()
    by_id = {row.id: row for row in rows}
    living = by_id.keys() | {id for node in nodes for id in node.containers}
    busy = partial(_is_locked, context, Jobs(context.store).workspaces_with_open_jobs(but=after_job))
    all_answer = len(nodes) == len(context.site.node_names)
    return [
        *(_wrong_name(node.here, old, new) for node in nodes for old, new in node.misnamed.items()),
        *_interrupted_snapshots(context, by_id, busy),
        *(drift for node in nodes for drift in _interrupted_resets(node.here, by_id, busy)),
        *(_orphan(node.here, *found) for node in nodes for found in node.containers.items() if found[0] not in by_id),
        *_rehearsals(context),
        *(drift for node in nodes for drift in _row_drift(node, rows, abandoned_ids, busy)),
        *_abandoned_batches(context),
        *(drift for found in context.at_each(_leftover_snapshots) for drift in found),
        *(drift for node in nodes for drift in _past(node.here, by_id, living, keep_hours, busy)),
        *_moved_away(nodes, by_id, busy),
        *(drift for node in nodes for drift in _leftover_volumes(node, rows)),
        *_leftover_git_access(context),
        *_wrong_routes(context),
        *_image_registry(context, nodes, by_id, living, busy),
        *(drift for node in nodes for drift in _missing_lists(node.here)),
        # Where a machine is away, nobody knows what it has.
        *(drift for node in nodes if all_answer for drift in _leftover_recordings(node.here, living)),
    ]


def _drift(
    context: Context, kind: str, subject: str, repair: Callable[[], object], /, *, told: str = "", **params: object
) -> Drift:
    """``context`` is the repair's; ``told`` is the code of the sentence if that is not the kind's; ``params`` are the
    sentence's."""
    node = context.node if isinstance(context, NodeContext) else None
    return Drift(kind, subject, Message(f"drift.{told or kind}", **params), repair, node)


def _wrong_name(context: NodeContext, name: str, wanted: str) -> Drift:
    """A seat's container by a name of before: an older Atelier made it, or the key for names was lost."""

    def mend() -> None:
        present = context.engine.inspect(name)
        if present is None:
            return
        with context.locks.workspace(present.labels["atelier.workspace"], context.lock_wait):
            if context.engine.inspect(name) is not None and context.engine.inspect(wanted) is None:
                context.engine.rename(name, wanted)

    return _drift(context, "wrong_name", name, mend, container=name, wanted=wanted)


def _interrupted_snapshots(context: Context, rows: Mapping[str, Workspace], busy: _Busy) -> Iterator[Drift]:
    def repair(id: str) -> None:
        with _locked(context, id) as row:
            if row is None:
                forget_snapshot(context, id)
            else:
                recover(context.at(row), row)

    for id in interrupted(context.site):
        row, mend = rows.get(id), partial(repair, id)
        if row is None:
            yield _drift(context, "interrupted_snapshot", id, mend, told="leftover_secrets", id=id)
        elif not busy(row):
            yield _drift(context, "interrupted_snapshot", row.name, mend, name=row.name)


def _interrupted_resets(context: NodeContext, rows: Mapping[str, Workspace], busy: _Busy) -> Iterator[Drift]:
    """Interrupted resets of this machine's workspaces. On a moved one's former machine a kept container has no use."""

    def repair(id: str) -> None:
        with _locked(context, id) as present:
            if present is not None and present.node == context.node:
                restore_previous_container(context, present)

    for id, moved in interrupted_resets(context).items():
        row = rows.get(id)
        if row and row.node == context.node and row.status is not Status.CREATING and not busy(row):
            yield _drift(context, "interrupted_reset", row.name, partial(repair, id), name=row.name, container=moved)


def _past(
    context: NodeContext, rows: Mapping[str, Workspace], living: Collection[str], keep_hours: float, busy: _Busy
) -> Iterator[Drift]:
    """Leftovers of resets and checkpoints of deleted workspaces, and containers that were kept long enough. ``living``
    includes those whose row was lost and is created again."""

    def remove(name: str, id: str, over: bool) -> None:
        with _locked(context, id) as row:
            # The seat gets its container back by both, where the repair of its interrupted reset has failed.
            needed = row is not None and row.node == context.node and is_of_interrupted_reset(context, name)
            if (over or row is None) and not needed:
                remove_container(context, name)

    for name, (id, over) in stale_containers(context, keep_hours).items():
        if (over or id not in living) and not (id in rows and busy(rows[id])):
            yield _drift(context, "leftover_container", name, partial(remove, name, id, over), container=name)
    for checkpoint in all_checkpoints(context):
        if checkpoint.workspace_id not in living:
            drop = partial(drop_checkpoint, context, checkpoint)
            yield _past_checkpoint("leftover_checkpoint", context, checkpoint, drop)


def _past_checkpoint(kind: str, context: Context, checkpoint: Checkpoint, remove: Callable[[], object]) -> Drift:
    """A checkpoint of a workspace that had no row, which may have been created since."""

    def repair() -> None:
        if context.store.find(id=checkpoint.workspace_id) is None:
            remove()

    return _drift(context, kind, checkpoint.tag, repair, told="leftover_checkpoint", tag=checkpoint.tag)


def _moved_away(nodes: Sequence[_Node], rows: Mapping[str, Workspace], busy: _Busy) -> Iterator[Drift]:
    """Containers that moves left on the machine of before: it went away, or the run was killed."""
    present = {(node.here.node, id) for node in nodes for id in node.containers}

    def remove(here: NodeContext, row: Workspace) -> None:
        with _locked(here, row.id) as moved:
            if moved is not None and moved.node != here.node:
                discard_container(here, row)

    for here, id, container in ((node.here, *found) for node in nodes for found in node.containers.items()):
        row = rows.get(id)
        if row and row.node != here.node and (row.node, id) in present and not busy(row):
            told = {"told": "moved", "name": row.name, "node": row.node, "former": here.node}
            yield _drift(here, "leftover_container", container.name, partial(remove, here, row), **told)


def _image_registry(
    context: Context, nodes: Sequence[_Node], rows: Mapping[str, Workspace], living: Collection[str], busy: _Busy
) -> list[Drift]:
    """Images in the registry that nobody needs, checkpoints that are on one machine only, and on one of before. Nothing
    while the registry does not answer."""
    found: list[Drift] = []

    with suppress(AtelierError):
        checkpoints = stored_checkpoints(context.site)
        for tag in leftovers_stored(context):
            remove = partial(withdraw, context, [tag])
            found.append(
                _drift(context, "leftover_stored_image", tag, remove, told="leftover_stored_snapshot", tag=tag)
            )
        # A row that was lost is made again from a container, which may be on a machine that does not answer.
        for checkpoint in checkpoints if len(nodes) == len(context.site.node_names) else ():
            if checkpoint.workspace_id not in living:
                remove = partial(withdraw, context, [checkpoint.tag])
                found.append(_past_checkpoint("leftover_stored_image", context, checkpoint, remove))
        for node in nodes if context.site.nodes else ():
            found += _misplaced_checkpoints(node.here, checkpoints, rows, busy)
    if has_garbage(context.site) or any(drift.kind == "leftover_stored_image" for drift in found):
        # While an image is being pushed, the repair leaves it to the next run.
        found.append(
            _drift(context, "registry_garbage", context.site.image_registry, partial(collect_garbage, context))
        )
    return found


def _misplaced_checkpoints(
    here: NodeContext, stored: Sequence[Checkpoint], rows: Mapping[str, Workspace], busy: _Busy
) -> Iterator[Drift]:
    """Checkpoints of this machine that the registry lacks, and those of workspaces that have left it."""
    local = all_checkpoints(here)
    for checkpoint in local:
        row, tag = rows.get(checkpoint.workspace_id), checkpoint.tag
        if row is None or busy(row):
            continue
        of_this = [each for each in {*stored, *local} if each.workspace_id == row.id]
        if checkpoint not in stored and checkpoint in kept(of_this):
            yield _drift(here, "unstored_checkpoint", tag, partial(push_checkpoint, here, tag), name=row.name, tag=tag)
        elif row.node != here.node:
            leave = partial(leave_checkpoint, here, checkpoint)
            told = {"told": "checkpoint_elsewhere", "name": row.name, "tag": tag, "node": row.node}
            yield _drift(here, "leftover_checkpoint", tag, leave, **told)


def _rehearsals(context: Context) -> Iterator[Drift]:
    """Seats of a rehearsal that was killed."""

    def clear() -> None:
        with suppress(AtelierError), context.locks.rehearsal():  # one that has begun since does it itself
            rehearsal.remove_leftover_seats(context)

    if context.locks.rehearsal_free() and (seats := rehearsal.leftover_seats(context)):
        yield _drift(context, "leftover_rehearsal", seats[0].name, clear, count=len(seats))


def _orphan(context: NodeContext, id: str, container: Container) -> Drift:
    def rebuild_row() -> None:
        with _locked(context, id) as row:
            present = context.engine.inspect(container.name)
            if present is None or row is not None:
                return
            found = row_from_container(context, id, present)
            with context.store.transaction():
                context.store.import_row(found)
                # A database that was lost knows no claims: this one was deleted, and has its participant's work.
                if claim_times(context.store, id)[0]:
                    context.store.update(id, unreleased=Message("returned", node=context.node))

    name = container.labels.get("atelier.name", "-")
    return _drift(context, "orphan_container", container.name, rebuild_row, container=container.name, name=name)


def _row_drift(node: _Node, rows: Sequence[Workspace], abandoned_ids: Collection[str], busy: _Busy) -> Iterator[Drift]:
    for row in (row for row in rows if row.node == node.here.node):
        container, abandoned = node.containers.get(row.id), row.id in abandoned_ids
        if row.status is Status.CREATING:
            if abandoned or not busy(row):
                yield _unfinished(node.here, row, abandoned=abandoned)
        elif not busy(row) and _seen(row, container) != (row.status, row.error):
            yield _wrong_status(node.here, row, container)


def _wrong_status(context: NodeContext, row: Workspace, container: Container | None) -> Drift:
    def set_status() -> None:
        with _locked(context, row.id) as present:
            if present is not None:
                context.store.observe(present, *_seen(present, container_of(context, row)))

    status, _ = _seen(row, container)
    if container is None:
        return _drift(context, "missing_container", row.name, set_status, name=row.name, status=status)
    return _drift(context, "wrong_status", row.name, set_status, name=row.name, status=status, recorded=row.status)


def _seen(row: Workspace, container: Container | None) -> tuple[Status, str | None]:
    """Like ``observed_status``, for a workspace whose machine answers: if it was removed, it has joined again."""
    return observed_status(row._replace(status=Status.STOPPED) if is_removed(row) else row, container)


def _unfinished(context: NodeContext, row: Workspace, *, abandoned: bool) -> Drift:
    """A workspace that nobody is creating any more. The row of one that its job ``abandoned`` stays."""

    def remove() -> None:
        with _locked(context, row.id) as present:
            # It may have been completed since, and contain files.
            if present is None or present.status is not Status.CREATING:
                return
            if not abandoned and _has_open_job(context, Jobs(context.store).workspaces_with_open_jobs(), present):
                return
            discard_container(context, present)
            if abandoned:
                return
            if is_made_again(present):
                context.store.update(present.id, status=Status.ERROR)
            else:
                context.store.delete(present.id)

    told = "abandoned_workspace" if abandoned or is_made_again(row) else ""
    return _drift(context, "unfinished_workspace", row.name, remove, told=told, name=row.name)


def _abandoned_batches(context: Context) -> Iterator[Drift]:
    """Clone orders that were interrupted and that nobody took up again: the next one of the same size would."""

    def close(id: str) -> None:
        with context.locks.batch(id) as held:
            if held:
                context.store.close_batch(id)

    for batch in context.store.open_batches():
        if context.locks.batch_free(batch.id):
            yield _drift(context, "abandoned_batch", batch.id, partial(close, batch.id), count=batch.count)


def _leftover_snapshots(context: NodeContext) -> list[Drift]:
    return [
        _drift(
            context,
            "leftover_snapshot",
            ", ".join(image.tags) or image.id,
            partial(remove_leftover_snapshots, context, [image]),
        )
        for image in leftover_snapshots(context)
    ]


def _leftover_volumes(node: _Node, rows: Sequence[Workspace]) -> Iterator[Drift]:
    used = {node.here.site.volume_name(id) for id in (*node.containers, *(row.id for row in rows))}
    for volume in node.volumes:
        if volume not in used:
            yield _drift(
                node.here, "leftover_volume", volume, partial(node.here.engine.remove_volume, volume), volume=volume
            )


def _leftover_git_access(context: Context) -> Iterator[Drift]:
    """Git access of workspaces that were removed while the git server did not answer."""

    def end(id: str) -> None:
        open_forge(context.site).revoke_seat(*seats_of(context.site, id))
        context.store.revoked(id)

    for id, repository in context.store.unrevoked().items() if context.site.git else ():
        yield _drift(context, "leftover_git_access", id, partial(end, id), id=id, repository=repository)


def _wrong_routes(context: Context) -> list[Drift]:
    for table, wanted in context.route_maps():
        for present in (table.saved(), table.running()):
            if present is not None and (wrong := wrong_routes(present, wanted())):
                return [_drift(context, "wrong_routes", ", ".join(wrong)[:200], context.sync_routes, count=len(wrong))]
    return []


def _missing_lists(context: NodeContext) -> Iterator[Drift]:
    """Whitelists that changed while the machine was away. The API brings them, too."""
    if context.node == CONTROLLER or not has_node_lists(context.site):
        return
    lists = NodeLists(context.site, context.store, context.locks, context.ready_timeout)
    with suppress(AtelierError):  # its Squid does not run: the repair says why
        if not lists.are_missing(context.node, context.engine):
            return
    yield _drift(
        context, "node_lists", context.node, partial(lists.bring, context.node, context.engine), node=context.node
    )


def _leftover_recordings(context: NodeContext, living: Collection[str]) -> Iterator[Drift]:
    """Recordings of workspaces that were deleted while the machine did not answer."""
    if context.node == CONTROLLER or not any(mode.can(Capability.RECORD) for mode in context.site.networks):
        return

    def remove(id: str) -> None:
        if context.store.find(id=id) is None:
            NodeFolder(context.site, context.engine, id).remove()

    for id in recorded_on_node(context.site, context.engine):
        if id not in living:
            yield _drift(context, "leftover_recordings", id, partial(remove, id), id=id, node=context.node)


@contextmanager
def _locked(context: Context, id: str) -> Iterator[Workspace | None]:
    """Locks the workspace for a repair, and yields its row as it is now."""
    with context.locks.workspace(id, context.lock_wait):
        yield context.store.find(id=id)


def _is_locked(context: Context, with_open_jobs: Collection[str], row: Workspace) -> bool:
    """Returns whether the workspace or its batch is locked, or is one of ``with_open_jobs``."""
    return not context.locks.workspace_free(row.id) or _has_open_job(context, with_open_jobs, row)


def _has_open_job(context: Context, with_open_jobs: Collection[str], row: Workspace) -> bool:
    return row.id in with_open_jobs or (row.batch is not None and not context.locks.batch_free(row.batch))
