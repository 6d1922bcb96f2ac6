"""Finds differences between Docker, the database and the gateway, and repairs them if wanted.

A repair loses no files: containers with files are adopted or marked; only incomplete objects are removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from .common.egress_modes import Capability
from .common.errors import AtelierError
from .common.messages import Message
from .common.models import CONTROLLER, Status, Workspace
from .containers.container import container_of, discard_container, observed_status, remove_container
from .containers.container_names import misnamed
from .containers.context import Context, NodeContext
from .containers.distribution import collect_garbage, has_garbage, withdraw
from .containers.node_lists import NodeLists, has_node_lists
from .containers.snapshots import (
    forget_snapshot,
    interrupted,
    leftover_snapshots,
    leftovers_stored,
    recover,
    remove_leftovers,
)
from .database.job_store import Jobs
from .database.rows import Batch
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


class Kind(StrEnum):
    ORPHAN_CONTAINER = "orphan_container"
    MISSING_CONTAINER = "missing_container"
    UNFINISHED_WORKSPACE = "unfinished_workspace"
    WRONG_NAME = "wrong_name"
    WRONG_STATUS = "wrong_status"
    ABANDONED_BATCH = "abandoned_batch"
    WRONG_ROUTES = "wrong_routes"
    NODE_LISTS = "node_lists"
    LEFTOVER_RECORDINGS = "leftover_recordings"
    INTERRUPTED_SNAPSHOT = "interrupted_snapshot"
    LEFTOVER_SNAPSHOT = "leftover_snapshot"
    LEFTOVER_VOLUME = "leftover_volume"
    LEFTOVER_GIT_ACCESS = "leftover_git_access"
    INTERRUPTED_RESET = "interrupted_reset"
    LEFTOVER_CONTAINER = "leftover_container"
    LEFTOVER_CHECKPOINT = "leftover_checkpoint"
    LEFTOVER_REHEARSAL = "leftover_rehearsal"
    LEFTOVER_STORED = "leftover_stored_image"
    UNSTORED_CHECKPOINT = "unstored_checkpoint"
    REGISTRY_GARBAGE = "registry_garbage"


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
    does, and the repair."""

    kind: Kind
    subject: str
    message: Message
    repair: Callable[[], object]


def repair_all(context: Context, drift: Sequence[Drift]) -> None:
    """Makes the repairs. One that fails, as when another run has begun to work on its workspace, ends no other; the
    first error is raised afterwards. Raises SERVICE_UNAVAILABLE at once."""
    errors: list[AtelierError] = []
    for difference in drift:
        try:
            difference.repair()
        except AtelierError as error:
            if is_engine_away(error):
                raise
            errors.append(error)
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
        *(
            _orphan(node.here, id, container)
            for node in nodes
            for id, container in node.containers.items()
            if id not in by_id
        ),
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


def _wrong_name(context: NodeContext, name: str, wanted: str) -> Drift:
    """A seat's container by a name of before: an older Atelier made it, or the key for names was lost."""

    def mend() -> None:
        present = context.engine.inspect(name)
        if present is None:
            return
        with context.locks.workspace(present.labels["atelier.workspace"], context.lock_wait):
            if context.engine.inspect(name) is not None and context.engine.inspect(wanted) is None:
                context.engine.rename(name, wanted)

    return Drift(Kind.WRONG_NAME, name, Message("drift.wrong_name", container=name, wanted=wanted), mend)


def _interrupted_snapshots(context: Context, rows: Mapping[str, Workspace], busy: _Busy) -> list[Drift]:
    def repair(id: str) -> None:
        with _locked(context, id) as row:
            if row is None:
                forget_snapshot(context, id)
            else:
                recover(context.at(row), row)

    found: list[Drift] = []
    for id in interrupted(context.site):
        row = rows.get(id)
        if row is None:
            message = Message("drift.leftover_secrets", id=id)
        elif busy(row):
            continue
        else:
            message = Message("drift.interrupted_snapshot", name=row.name)
        found.append(Drift(Kind.INTERRUPTED_SNAPSHOT, row.name if row else id, message, partial(repair, id)))
    return found


def _interrupted_resets(context: NodeContext, rows: Mapping[str, Workspace], busy: _Busy) -> list[Drift]:
    """Interrupted resets of this machine's workspaces. On a moved one's former machine a kept container has no use."""

    def repair(row: Workspace) -> None:
        with _locked(context, row.id) as present:
            if present is not None and present.node == context.node:
                restore_previous_container(context, present)

    return [
        Drift(
            Kind.INTERRUPTED_RESET,
            row.name,
            Message("drift.interrupted_reset", name=row.name, container=moved),
            partial(repair, row),
        )
        for id, moved in interrupted_resets(context).items()
        if (row := rows.get(id)) is not None
        and row.node == context.node
        and row.status is not Status.CREATING
        and not busy(row)
    ]


def _past(
    context: NodeContext, rows: Mapping[str, Workspace], living: Collection[str], keep_hours: float, busy: _Busy
) -> list[Drift]:
    """Leftovers of resets and checkpoints of deleted workspaces, and containers that were kept long enough. ``living``
    includes those whose row was lost and is created again."""

    def remove(name: str, id: str, over: bool) -> None:
        with _locked(context, id) as row:
            # The seat gets its container back by both, where the repair of its interrupted reset has failed.
            needed = row is not None and row.node == context.node and is_of_interrupted_reset(context, name)
            if (over or row is None) and not needed:
                remove_container(context, name)

    containers = [
        Drift(
            Kind.LEFTOVER_CONTAINER,
            name,
            Message("drift.leftover_container", container=name),
            partial(remove, name, id, over),
        )
        for name, (id, over) in stale_containers(context, keep_hours).items()
        if (over or id not in living) and not (id in rows and busy(rows[id]))
    ]
    checkpoints = [
        _past_checkpoint(Kind.LEFTOVER_CHECKPOINT, context, checkpoint, partial(drop_checkpoint, context, checkpoint))
        for checkpoint in all_checkpoints(context)
        if checkpoint.workspace_id not in living
    ]
    return containers + checkpoints


def _past_checkpoint(kind: Kind, context: Context, checkpoint: Checkpoint, remove: Callable[[], object]) -> Drift:
    """A checkpoint of a workspace that had no row, which may have been created since."""

    def repair() -> None:
        if context.store.find(id=checkpoint.workspace_id) is None:
            remove()

    return Drift(kind, checkpoint.tag, Message("drift.leftover_checkpoint", tag=checkpoint.tag), repair)


def _moved_away(nodes: Sequence[_Node], rows: Mapping[str, Workspace], busy: _Busy) -> list[Drift]:
    """Containers that moves left on the machine of before: it went away, or the run was killed."""
    present = {(node.here.node, id) for node in nodes for id in node.containers}

    def remove(here: NodeContext, row: Workspace) -> None:
        with _locked(here, row.id) as moved:
            if moved is not None and moved.node != here.node:
                discard_container(here, row)

    return [
        Drift(
            Kind.LEFTOVER_CONTAINER,
            container.name,
            Message("drift.moved", name=row.name, node=row.node, former=node.here.node),
            partial(remove, node.here, row),
        )
        for node in nodes
        for id, container in node.containers.items()
        if (row := rows.get(id)) and row.node != node.here.node and (row.node, id) in present and not busy(row)
    ]


def _image_registry(
    context: Context, nodes: Sequence[_Node], rows: Mapping[str, Workspace], living: Collection[str], busy: _Busy
) -> list[Drift]:
    """Images in the registry that nobody needs, checkpoints that are on one machine only, and on one of before. Nothing
    while the registry does not answer."""
    found: list[Drift] = []

    with suppress(AtelierError):
        checkpoints = stored_checkpoints(context.site)
        for tag in leftovers_stored(context):
            message, remove = Message("drift.leftover_stored_snapshot", tag=tag), partial(withdraw, context, [tag])
            found.append(Drift(Kind.LEFTOVER_STORED, tag, message, remove))
        # A row that was lost is made again from a container, which may be on a machine that does not answer.
        if len(nodes) == len(context.site.node_names):
            found += [
                _past_checkpoint(
                    Kind.LEFTOVER_STORED, context, checkpoint, partial(withdraw, context, [checkpoint.tag])
                )
                for checkpoint in checkpoints
                if checkpoint.workspace_id not in living
            ]
        for node in nodes if context.site.nodes else ():
            found += _misplaced_checkpoints(node.here, checkpoints, rows, busy)
    if has_garbage(context.site) or any(drift.kind is Kind.LEFTOVER_STORED for drift in found):
        # While an image is being pushed, the repair leaves it to the next run.
        collect = partial(collect_garbage, context)
        found.append(
            Drift(Kind.REGISTRY_GARBAGE, context.site.image_registry, Message("drift.registry_garbage"), collect)
        )
    return found


def _misplaced_checkpoints(
    here: NodeContext, stored: Sequence[Checkpoint], rows: Mapping[str, Workspace], busy: _Busy
) -> list[Drift]:
    """Checkpoints of this machine that the registry lacks, and those of workspaces that have left it."""
    found: list[Drift] = []
    local = all_checkpoints(here)
    for checkpoint in local:
        row = rows.get(checkpoint.workspace_id)
        if row is None or busy(row):
            continue
        of_this = [each for each in {*stored, *local} if each.workspace_id == row.id]
        if checkpoint not in stored and checkpoint in kept(of_this):
            message = Message("drift.unstored_checkpoint", name=row.name, tag=checkpoint.tag)
            push = partial(push_checkpoint, here, checkpoint.tag)
            found.append(Drift(Kind.UNSTORED_CHECKPOINT, checkpoint.tag, message, push))
        elif row.node != here.node:
            message = Message("drift.checkpoint_elsewhere", name=row.name, tag=checkpoint.tag, node=row.node)
            leave = partial(leave_checkpoint, here, checkpoint)
            found.append(Drift(Kind.LEFTOVER_CHECKPOINT, checkpoint.tag, message, leave))
    return found


def _rehearsals(context: Context) -> list[Drift]:
    """Seats of a rehearsal that was killed."""

    def clear() -> None:
        with suppress(AtelierError), context.locks.rehearsal():  # one that has begun since does it itself
            rehearsal.remove_leftovers(context)

    seats = rehearsal.leftover_seats(context) if context.locks.rehearsal_free() else []
    if not seats:
        return []
    message = Message("drift.leftover_rehearsal", count=len(seats))
    return [Drift(Kind.LEFTOVER_REHEARSAL, seats[0].name, message, clear)]


def _orphan(context: NodeContext, id: str, container: Container) -> Drift:
    def rebuild_row() -> None:
        with _locked(context, id) as row:
            present = context.engine.inspect(container.name)
            if present is not None and row is None:
                context.store.import_row(row_from_container(context, id, present))

    name = container.labels.get("atelier.name", "-")
    message = Message("drift.orphan_container", container=container.name, name=name)
    return Drift(Kind.ORPHAN_CONTAINER, container.name, message, rebuild_row)


def _row_drift(node: _Node, rows: Sequence[Workspace], abandoned_ids: Collection[str], busy: _Busy) -> list[Drift]:
    context, found = node.here, list[Drift]()
    for row in rows:
        if row.node != context.node:
            continue
        container = node.containers.get(row.id)
        if row.status is Status.CREATING:
            abandoned = row.id in abandoned_ids
            if abandoned or not busy(row):
                found.append(_unfinished(context, row, abandoned=abandoned))
        elif not busy(row):
            status, error = observed_status(row, container)
            if status is not row.status or error != row.error:
                found.append(_wrong_status(context, row, container, status))
    return found


def _wrong_status(context: NodeContext, row: Workspace, container: Container | None, status: Status) -> Drift:
    def set_status() -> None:
        with _locked(context, row.id) as present:
            if present is not None:
                context.store.observe(present, *observed_status(present, container_of(context, row)))

    if container is None:
        message = Message("drift.missing_container", name=row.name, status=status)
        return Drift(Kind.MISSING_CONTAINER, row.name, message, set_status)
    message = Message("drift.wrong_status", name=row.name, status=status, recorded=row.status)
    return Drift(Kind.WRONG_STATUS, row.name, message, set_status)


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
            if not abandoned:
                context.store.delete(present.id)

    message = Message("drift.abandoned_workspace" if abandoned else "drift.unfinished_workspace", name=row.name)
    return Drift(Kind.UNFINISHED_WORKSPACE, row.name, message, remove)


def _abandoned_batches(context: Context) -> list[Drift]:
    """Clone orders that were interrupted and that nobody took up again: the next one of the same size would."""

    def close(batch: Batch) -> None:
        with context.locks.batch(batch.id) as held:
            if held:
                context.store.close_batch(batch.id)

    return [
        Drift(
            Kind.ABANDONED_BATCH, batch.id, Message("drift.abandoned_batch", count=batch.count), partial(close, batch)
        )
        for batch in context.store.open_batches()
        if context.locks.batch_free(batch.id)
    ]


def _leftover_snapshots(context: NodeContext) -> list[Drift]:
    message, remove = Message("drift.leftover_snapshot"), partial(remove_leftovers, context)
    return [
        Drift(Kind.LEFTOVER_SNAPSHOT, ", ".join(image.tags) or image.id, message, partial(remove, [image]))
        for image in leftover_snapshots(context)
    ]


def _leftover_volumes(node: _Node, rows: Sequence[Workspace]) -> list[Drift]:
    used = {node.here.site.volume_name(id) for id in (*node.containers, *(row.id for row in rows))}
    remove = node.here.engine.remove_volume
    return [
        Drift(Kind.LEFTOVER_VOLUME, volume, Message("drift.leftover_volume", volume=volume), partial(remove, volume))
        for volume in node.volumes
        if volume not in used
    ]


def _leftover_git_access(context: Context) -> list[Drift]:
    """Git access of workspaces that were removed while the git server did not answer."""
    if context.site.git is None:
        return []

    def end(id: str) -> None:
        open_forge(context.site).revoke_seat(*seats_of(context.site, id))
        context.store.revoked(id)

    return [
        Drift(
            Kind.LEFTOVER_GIT_ACCESS,
            id,
            Message("drift.leftover_git_access", id=id, repository=repository),
            partial(end, id),
        )
        for id, repository in context.store.unrevoked().items()
    ]


def _wrong_routes(context: Context) -> list[Drift]:
    for table, wanted in context.route_maps():
        for present in (table.saved(), table.running()):
            if present is not None and (wrong := wrong_routes(present, wanted())):
                message = Message("drift.wrong_routes", count=len(wrong))
                return [Drift(Kind.WRONG_ROUTES, ", ".join(wrong)[:200], message, context.sync_routes)]
    return []


def _missing_lists(context: NodeContext) -> list[Drift]:
    """Whitelists that changed while the machine was away. The API brings them, too."""
    if context.node == CONTROLLER or not has_node_lists(context.site):
        return []
    lists = NodeLists(context.site, context.store, context.locks, context.ready_timeout)
    with suppress(AtelierError):  # its Squid does not run: the repair says why
        if not lists.are_missing(context.node, context.engine):
            return []
    bring = partial(lists.bring, context.node, context.engine)
    return [Drift(Kind.NODE_LISTS, context.node, Message("drift.node_lists", node=context.node), bring)]


def _leftover_recordings(context: NodeContext, living: Collection[str]) -> list[Drift]:
    """Recordings of workspaces that were deleted while the machine did not answer."""
    if context.node == CONTROLLER or not any(mode.can(Capability.RECORD) for mode in context.site.networks):
        return []

    def remove(id: str) -> None:
        if context.store.find(id=id) is None:
            NodeFolder(context.site, context.engine, id).remove()

    return [
        Drift(
            Kind.LEFTOVER_RECORDINGS,
            id,
            Message("drift.leftover_recordings", id=id, node=context.node),
            partial(remove, id),
        )
        for id in recorded_on_node(context.site, context.engine)
        if id not in living
    ]


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
