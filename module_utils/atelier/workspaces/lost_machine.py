"""Begins the workspaces of a machine that is lost on other machines, from their last checkpoints in the registry.

A workspace keeps its id, address, password, claim, aliases and branch, which are the row's. The row's machine is the
one moment of the change, as in a move. What is left to do after it is noted in the same transaction, so that another
run finishes what a killed one began. If the lost machine returns, its container gets no requests, and reconcile
removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..common.errors import AtelierError, Code, faults_of, invalid
from ..common.messages import Message
from ..common.models import CONTROLLER, GIT_IMPORT, Status, Workspace
from ..containers.container import check_created, container_of, discard_container, seat_spec
from ..containers.context import Context, NodeContext
from ..containers.git_provisioning import renew_credential
from ..containers.node_lists import ready_proxy
from ..containers.snapshots import forget_snapshot
from ..database.intent import stopped_on_purpose, wanted_up
from ..database.lasting_errors import is_removed
from ..database.workspace_store import WorkspaceStore
from .checkpoints import Checkpoint, newest_checkpoint
from .move import target_of
from .reset import origin_of, start_filled

# On a container that a beginning elsewhere made, but on none that a move, an upgrade or a reset made since: these may
# have work before they ever ran.
_LABEL = "atelier.begun"


@dataclass(frozen=True)
class BegunSeat:
    """The result for one workspace. ``origin`` is as for a reset, None if it stayed. ``checkpoint``: time of the
    checkpoint; ``age``: its age in seconds; ``lost``: a sentence on what was lost."""

    id: str
    name: str
    node: str
    origin: str | None = None
    checkpoint: str | None = None
    age: int | None = None
    lost: str | None = None
    error: str | None = None


def begin_elsewhere(
    context: Context,
    *,
    id: str | None = None,
    name: str | None = None,
    group: str | None = None,
    node: str | None = None,
    to: str | None = None,
    or_base: bool = False,
    check_mode: bool = False,
) -> list[BegunSeat]:
    """Begins workspaces whose machine does not answer on the machine ``to``, or else on that with most room: one, those
    of a group, or all of a machine. Of a group, those whose machines answer are left alone.

    One without a checkpoint begins from its base or template ``or_base``. Each runs afterwards if it is meant to. One
    that an interrupted run began is finished where it is. Of several, one that fails stays as it was, with its error.
    Raises VALIDATION_ERROR when the machine answers, or when there is no checkpoint; PROJECT_NOT_FOUND, WORKSPACE_BUSY,
    NO_ROOM, and what a reset raises.
    """
    if group is None and node is None:
        return [_begin(context, context.store.get(id=id, name=name), to, or_base, check_mode)]
    seats: list[BegunSeat] = []
    rows = _chosen(context, group, node)
    for row in rows:
        context.progress(Message("step.move", name=row.name, node=to or "-"), len(seats), len(rows))
        try:
            with faults_of(row.name):
                seats.append(_begin(context, row, to, or_base, check_mode))
        except AtelierError as error:
            seats.append(BegunSeat(row.id, row.name, row.node, error=error.sentence))
    return seats


def is_lost(context: Context, node: str) -> bool:
    """Whether the machine does not answer, or is not part of the installation any more."""
    try:
        context.on(node)
    except AtelierError as error:
        if error.code is not Code.NODE_UNAVAILABLE:
            raise
        return True
    return False


def remove_machine(context: Context, node: str, *, force: bool = False, check_mode: bool = False) -> tuple[bool, bool]:
    """Takes a machine out of the installation's swarm; returns whether that is a change, and whether the machine
    answers. Raises VALIDATION_ERROR for the controller and for a machine that still has workspaces.

    With ``force`` those of a machine that does not answer become ``error``. They can still begin elsewhere.
    """
    if node == CONTROLLER:
        raise invalid("controller_stays", "name", value=node)
    rows = [row for row in context.store.all() if row.node == node]
    answers = not is_lost(context, node)
    if rows and (answers or not force):
        why = Message("machine_in_use" if force else "machine_has_seats", node=node[:60], count=len(rows))
        raise AtelierError(Code.VALIDATION_ERROR, why, field="name", value=node[:60], seats=len(rows))
    member = context.engines.swarm_members().get(node)
    marked = [row for row in rows if not is_removed(row)]
    if not check_mode:
        for row in marked:
            context.store.update(row.id, status=Status.ERROR, error=Message("machine_removed", node=row.node))
        if member is not None:
            context.on().engine.remove_node(member.id)
    return bool(marked) or member is not None, answers


@dataclass(frozen=True)
class _Begun:
    """An unfinished change of a workspace to another machine: the lost machine, what the workspace began from, and the
    checkpoint's time."""

    lost: str
    origin: str
    checkpoint: str | None


def unfinished(store: WorkspaceStore) -> dict[str, _Begun]:
    """The unfinished changes by workspace id."""
    rows = store.rows("SELECT workspace_id, lost, origin, checkpoint FROM begun_elsewhere")
    return {row[0]: _Begun(*row[1:]) for row in rows}


def note_unfinished(store: WorkspaceStore, workspace_id: str, begun: _Begun) -> None:
    change = "INSERT OR REPLACE INTO begun_elsewhere (workspace_id, lost, origin, checkpoint) VALUES (?, ?, ?, ?)"
    store.write(change, workspace_id, begun.lost, begun.origin, begun.checkpoint)


def _chosen(context: Context, group: str | None, node: str | None) -> Sequence[Workspace]:
    begun = unfinished(context.store)
    rows = [row for row in context.store.all() if group in (None, row.group)]
    left = [row for row in rows if row.id in begun and node in (None, begun[row.id].lost)]
    rows = [row for row in rows if node in (None, row.node)]
    lost = {machine: is_lost(context, machine) for machine in {row.node for row in rows}}
    if node is not None and rows and not lost[node]:
        raise _answers(node)
    return [*(row for row in left if row not in rows), *(row for row in rows if lost[row.node] or row in left)]


def _answers(node: str) -> AtelierError:
    return invalid("machine_answers", "origin", node=node, value=node)


def _begin(context: Context, row: Workspace, to: str | None, or_base: bool, check_mode: bool) -> BegunSeat:
    check_created(row)
    if not is_lost(context, row.node):
        return _finished(context, row, check_mode)
    there = context.on(target_of(context, row, to, lost=True))
    with nullcontext() if check_mode else context.locks.workspace(row.id, context.lock_wait):
        row = context.store.get(id=row.id)
        # Another run may have done it meanwhile.
        if not is_lost(context, row.node):
            raise _answers(row.node)
        last = newest_checkpoint(there, row.id, scheduled=True)
        if last is None and not or_base:
            raise invalid("no_checkpoint", "origin", name=row.name)
        if check_mode:
            begun = _Begun(row.node, "checkpoint" if last else "base", last.taken_at if last else None)
        else:
            ready_proxy(there, row)
            begun = _make(there, row, last)
        return _outcome(row, there, begun)


def _finished(context: Context, row: Workspace, check_mode: bool) -> BegunSeat:
    """Completes an interrupted run's work on a machine that answers."""
    begun = unfinished(context.store).get(row.id)
    if begun is None:
        raise _answers(row.node)
    if not check_mode:
        with context.locks.workspace(row.id, context.lock_wait):
            # Another run may have done it meanwhile.
            if row.id in unfinished(context.store):
                row = context.store.get(id=row.id)
                finish(context.at(row), row, begun)
    return _outcome(row, context.at(row), begun)


def _make(there: NodeContext, row: Workspace, last: Checkpoint | None) -> _Begun:
    """Makes the container, and starts it if the workspace is meant to run."""
    name, store = there.site.container_name(row.id), there.store
    runs = row.id in wanted_up(store)
    # Leftovers of an interrupted run.
    discard_container(there, row)
    with origin_of(there, row, None, last) as (origin, image):
        there.engine.create(seat_spec(there, row, image, name, {_LABEL: "true"}))
    begun = _Begun(row.node, origin, last.taken_at if last else None)
    memory = there.engines.memory()
    try:
        with store.transaction():
            store.relocate(row.id, there.node, memory)
            if runs:
                store.claim_running_slot(row.id, memory=memory)
            store.update(row.id, git_pending=GIT_IMPORT if origin == "repository" else None)
            note_unfinished(store, row.id, begun)
    except AtelierError as error:
        # Without an answer of the database the row may be there already.
        if error.code is not Code.REGISTRY_ERROR:
            discard_container(there, row)
        raise
    finish(there, store.get(id=row.id), begun)
    return begun


def finish(there: NodeContext, row: Workspace, begun: _Begun) -> None:
    """The steps that remain once the row names the container's machine."""
    container = container_of(there, row)
    never_ran = container is not None and container.status == "created" and _LABEL in container.labels
    if never_ran:
        # Its secrets belong to the lost container.
        forget_snapshot(there, row.id)
    there.sync_routes()
    if row.id in wanted_up(there.store):
        # A checkpoint may hold uncommitted work, and so may a container that ran: its IDE may have answered after an
        # earlier run gave up. A base holds no work of this workspace.
        restore = never_ran and begun.origin != "checkpoint" and row.branch is not None
        start_filled(there, row, restore=restore)
    else:
        renew_credential(there, row, failed="no_credential")
        stopped_on_purpose(there.store, row.id)
    there.store.end_beginning(row.id)


def _outcome(row: Workspace, there: NodeContext, begun: _Begun) -> BegunSeat:
    seat = BegunSeat(row.id, row.name, there.node, begun.origin, begun.checkpoint)
    if begun.checkpoint is None:
        return replace(seat, lost=Message("begun.base", name=row.name))
    age = max(int((datetime.now(UTC) - datetime.fromisoformat(begun.checkpoint)).total_seconds()), 0)
    lost = Message("begun.checkpoint", name=row.name, taken_at=begun.checkpoint, minutes=age // 60)
    return replace(seat, age=age, lost=lost)
