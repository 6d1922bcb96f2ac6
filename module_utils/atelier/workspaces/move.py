"""Moves a workspace to another machine: with its files, address, password, claim, aliases and branch.

It is stopped first, so nothing is written while its files travel. Secrets never become part of the image: they are held
back as for any snapshot, and written into the new container. The row's machine is the one moment of the change: a run
that is killed before leaves the old container, one that is killed later the new one, and reconcile removes the other.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ..common.errors import AtelierError, Code, faults_of, invalid
from ..common.messages import Message
from ..common.models import Status, Workspace
from ..containers.container import check_created, discard_container, put_config, remove_container, seat_spec, start_seat
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.git_provisioning import git_files
from ..containers.held_secrets import find_secrets
from ..containers.node_lists import ready_proxy
from ..containers.snapshots import snapshot
from ..database.lasting_errors import is_removed
from ..database.placement import check_fits, place_on, with_labels
from ..database.workspace_store import new_id
from .checkpoints import leave_checkpoints, push_missing
from .kept_containers import recovered
from .views import Change, current_view


def move(
    context: Context,
    *,
    id: str | None,
    name: str | None,
    to: str | None = None,
    away_from: str | None = None,
    check_mode: bool = False,
) -> Change:
    """Moves the workspace to the machine ``to``, or else to the one with most room; one that is there stays, and one
    that has left the machine ``away_from``.

    It runs afterwards if it ran before. Raises PROJECT_NOT_FOUND, WORKSPACE_BUSY while it is being created, NO_ROOM,
    VALIDATION_ERROR for a machine that takes no workspaces, NODE_UNAVAILABLE, SNAPSHOT_FAILED.
    """
    row = context.store.get(id=id, name=name)
    check_created(row, "id" if id else "name")
    target = target_of(context, row, to)
    if check_mode or target == row.node:
        before = current_view(context, row)
        return Change(target != row.node, before, before | {"node": target})
    with context.locks.workspace(row.id, context.lock_wait):
        row = context.store.get(id=row.id)
        here, there = context.at(row), context.on(target)
        row, _ = recovered(here, row)
        before = current_view(context, row)
        # Another run may have moved it while this one waited.
        if row.node == target or away_from not in (None, row.node):
            return Change(False, before, before)
        context.progress(Message("step.move", name=row.name, node=target), 0, 1)
        _move(here, there, row)
        context.progress(Message("step.move", name=row.name, node=target), 1, 1)
        after = current_view(context, context.store.get(id=row.id))
    return Change(True, before, after)


def target_of(context: Context, row: Workspace, to: str | None, *, lost: bool = False) -> str:
    """The workspace's new machine. Its present machine is refused if it is ``lost``. Raises as ``move``."""
    if not context.site.nodes:
        raise AtelierError(Code.NO_ROOM, Message("no_other_machine"), field="to")
    machines = with_labels(context.engines.machines() or (), row.node_labels)
    candidates = [machine for machine in machines if machine.name == to or (to is None and machine.name != row.node)]
    if to is not None and (to != row.node or lost) and not candidates:
        names = ", ".join(sorted(machine.name for machine in machines)) or "-"
        raise invalid("no_such_machine", "to", node=to[:60], names=names, value=to[:60])
    if to == row.node:
        return row.node
    promised, size = context.store.promised(), row.limits.memory_bytes
    if to is not None:
        check_fits(row.name, size, to, candidates[0].memory - promised.get(to, 0))
        return to
    (node,) = place_on(candidates, [size], promised)
    return node


def _move(here: NodeContext, there: NodeContext, row: Workspace) -> None:
    name = here.site.container_name(row.id)
    container = here.engine.inspect(name)
    if container is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("snapshot.no_container", source=row.name), field="name")
    # Do this before anything is stopped here.
    ready_proxy(there, row)
    ran = container.status in ("running", "paused", "restarting")
    here.engine.stop(name)
    run_id = new_id()
    try:
        push_missing(here, row.id)
        with here.locks.batch(run_id), snapshot(here, row, run_id, locked=True) as (_, image):
            # Leftovers of an interrupted move.
            discard_container(there, row)
            there.engine.create(seat_spec(there, row, image_at(there, here, image.tags[0]), name))
            secrets = [secret.original() for secret in find_secrets(here.engine, container.id, row.name)]
            if secrets:
                there.engine.put(name, "/", secrets)
            put_config(there, row, git_files(here, row))
        # The machine had room before its files traveled; others may have taken it meanwhile.
        memory = here.engines.memory()
        with here.store.transaction():
            here.store.relocate(row.id, there.node, memory)
            if is_removed(row):  # the machine that it leaves, which has joined again
                here.store.update(row.id, status=Status.STOPPED, error=None)
    except Exception as error:
        # Without an answer of the database either machine may be the row's: reconcile removes the other container.
        if not (isinstance(error, AtelierError) and error.code is Code.REGISTRY_ERROR):
            with suppress(AtelierError):
                discard_container(there, row)
        if ran:
            with suppress(AtelierError):
                here.engine.start(name)
        raise
    row = here.store.get(id=row.id)
    here.sync_routes()
    if ran:
        start_seat(there, row)
    # A machine that went away meanwhile is cleared by reconcile when it returns.
    with suppress(AtelierError):
        remove_container(here, name)
        here.engine.remove_volume(here.site.volume_name(row.id))
        leave_checkpoints(here, row.id)


@dataclass(frozen=True)
class MovedSeat:
    """The result for one workspace of a machine that was drained."""

    id: str
    name: str
    node: str
    error: str | None = None


def set_availability(context: Context, node: str, availability: str, *, check_mode: bool = False) -> bool:
    """Lets a machine take new workspaces (``active``) or none (``paused``); returns whether that is a change. Raises
    VALIDATION_ERROR for one that is not in the swarm."""
    known = context.engines.swarm_nodes()
    if node not in known:
        names = ", ".join(sorted(known)) or "-"
        raise invalid("not_in_swarm", "name", node=node[:60], names=names, value=node[:60])
    wanted = "pause" if availability == "paused" else "active"
    if known[node].availability == wanted:
        return False
    if not check_mode:
        context.on().engine.set_availability(known[node].id, wanted)
    return True


def drain(context: Context, node: str, *, check_mode: bool = False) -> tuple[bool, list[MovedSeat]]:
    """Pauses a machine and moves its workspaces to the others, one after the other. One that cannot be moved stays,
    with the reason; another run moves it."""
    changed = set_availability(context, node, "paused", check_mode=check_mode)
    rows = [row for row in context.store.all() if row.node == node and row.status is not Status.CREATING]
    if check_mode:
        return changed or bool(rows), [MovedSeat(row.id, row.name, node) for row in rows]
    seats: list[MovedSeat] = []
    for row in rows:
        context.progress(Message("step.drain", node=node), len(seats), len(rows))
        present = context.store.find(id=row.id)
        if present is None or present.node != node:  # removed or moved meanwhile
            continue
        try:
            with faults_of(row.name):
                moved = move(context, id=row.id, name=None, away_from=node)
            seats.append(MovedSeat(row.id, row.name, str(moved.after["node"])))
        except AtelierError as error:
            if error.code is not Code.PROJECT_NOT_FOUND:  # removed while this waited for its lock
                seats.append(MovedSeat(row.id, row.name, node, error.sentence))
    return changed or bool(rows), seats
