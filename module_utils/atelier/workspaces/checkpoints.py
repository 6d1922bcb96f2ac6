"""Checkpoints: images of workspaces, on their machine and, where there are several, in the image registry.

The name is permanent, ``<instance>/checkpoint:<id>-<time>``, with ``-<run>`` appended if it was taken for a repeatable
run. The registry has the same names, so a checkpoint can be used on every machine, also when its own is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..common.errors import AtelierError, invalid
from ..common.messages import Message
from ..common.models import Site, Workspace
from ..common.timestamps import timestamp
from ..containers.container import SNAPSHOT_LABEL, check_created
from ..containers.context import Context, NodeContext
from ..containers.distribution import fetch_image, publish, remote_name, stored, withdraw
from ..containers.snapshots import snapshot
from ..database.claims import claim_times, was_anothers
from ..database.workspace_store import new_id

MOST_CHECKPOINTS = 5
# The run of those that are taken by the clock. They are for lost machines only: one is kept, and no reset uses it.
SCHEDULED = "scheduled"
RUN = re.compile(r"[a-z0-9]{1,32}")
STAMP = "%Y%m%dt%H%M%S%fz"
_KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its image's name. ``stamp`` is the time in the name; ``run_id`` is the run that it was taken for,
    if given."""

    tag: str
    workspace_id: str
    stamp: str
    run_id: str | None

    @property
    def taken_at(self) -> str:
        """The time in ISO 8601, UTC."""
        return timestamp(datetime.strptime(self.stamp, STAMP).replace(tzinfo=UTC))

    @property
    def is_scheduled(self) -> bool:
        return self.run_id == SCHEDULED


@dataclass(frozen=True)
class CheckpointOutcome:
    """``checkpoints`` are all of the workspace; ``problem`` is why the new one is not in the image registry."""

    changed: bool
    checkpoints: list[Checkpoint]
    problem: Message | None = None


def take_checkpoint(
    context: Context, *, id: str | None, name: str | None, run_id: str | None = None, check_mode: bool = False
) -> CheckpointOutcome:
    """Takes a checkpoint of a workspace, running or stopped, and drops the oldest beyond five. With several machines it
    is pushed to the image registry; a failure to do so is returned, not raised.

    With a ``run_id``, a second run with the same one takes no other checkpoint, except with ``scheduled``: that one
    replaces the last of its kind. Raises PROJECT_NOT_FOUND, WORKSPACE_BUSY while the workspace is being created,
    VALIDATION_ERROR, SNAPSHOT_FAILED, DISK_FULL.
    """
    row = context.store.get(id=id, name=name)
    check_created(row, "id" if id else "name")
    if run_id is not None and not RUN.fullmatch(run_id):
        raise invalid("input.run_id", "run_id", value=run_id[:40])
    here = context.at(row)
    present = _known(here, row)
    done = next((found for found in present if run_id == found.run_id and run_id not in (None, SCHEDULED)), None)
    if check_mode:
        return CheckpointOutcome(done is None, present)
    if done is not None:
        # The run that took it may have been killed before it pushed it.
        return CheckpointOutcome(False, present, store_checkpoint(here, row, done.tag))
    batch = new_id()
    here.progress(Message("step.checkpoint", name=row.name), 0, 1)
    # As a snapshot first: one that is interrupted goes with the next snapshot that anybody takes.
    with here.locks.batch(batch), snapshot(here, row, batch) as (here, image):
        # Newer than all that were taken before, and than the claims, so that order by name is the order of events.
        earlier = [found.stamp for found in (*present, *checkpoints_of(here, row.id))]
        _, claimed = claim_times(here.store, row.id)
        if claimed:
            earlier.append(datetime.fromisoformat(claimed).astimezone(UTC).strftime(STAMP))
        run = f"-{run_id}" if run_id else ""
        tag = f"{here.site.instance}/{_KIND}:{row.id}-{stamp_after(earlier)}{run}"
        here.engine.tag(image.id, tag)
    problem = store_checkpoint(here, row, tag)
    found = _known(here, row)
    remaining = kept(found)
    for old in found:
        if old not in remaining:
            drop_checkpoint(here, old)
    here.progress(Message("step.checkpoint", name=row.name), 1, 1)
    return CheckpointOutcome(True, remaining, problem)


def _known(here: NodeContext, row: Workspace) -> list[Checkpoint]:
    return known_checkpoints(here.site, row.id, here.engine.image_tags(f"{SNAPSHOT_LABEL}={row.id}"))


def stamp_after(earlier: Iterable[str]) -> str:
    """The present time for a name; if the clock was set back, the first time after all earlier stamps."""
    newest = max(earlier, default="")
    moment = datetime.now(UTC)
    if newest >= moment.strftime(STAMP):
        moment = datetime.strptime(newest, STAMP).replace(tzinfo=UTC) + timedelta(microseconds=1)
    return moment.strftime(STAMP)


def checkpoints_among(instance: str, tags: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of the instance among image names, each workspace's oldest first."""
    pattern = re.compile(
        rf"{re.escape(instance)}/{_KIND}:(?P<id>[0-9a-f]{{12}})-(?P<stamp>[0-9]{{8}}t[0-9]{{12}}z)"
        rf"(?:-(?P<run>{RUN.pattern}))?"
    )
    found = [match for tag in sorted(set(tags)) if (match := pattern.fullmatch(tag))]
    return [Checkpoint(match[0], match["id"], match["stamp"], match["run"]) for match in found]


def all_checkpoints(context: NodeContext) -> list[Checkpoint]:
    """All checkpoints on this machine, each workspace's oldest first."""
    return checkpoints_among(context.site.instance, context.engine.image_tags(SNAPSHOT_LABEL))


def checkpoints_of(context: NodeContext, workspace_id: str) -> list[Checkpoint]:
    """The workspace's checkpoints on this machine, oldest first."""
    return [checkpoint for checkpoint in all_checkpoints(context) if checkpoint.workspace_id == workspace_id]


def stored_checkpoints(site: Site) -> list[Checkpoint]:
    """The checkpoints in the image registry, oldest first per workspace; empty on a single machine. Raises ENGINE_ERROR
    if the registry does not answer."""
    return checkpoints_among(site.instance, stored(site, _KIND))


def known_checkpoints(site: Site, workspace_id: str, local: Iterable[str]) -> list[Checkpoint]:
    """The workspace's checkpoints among the names of its machine's images and in the registry, oldest first; without
    the latter while it does not answer."""
    names = set(local)
    with suppress(AtelierError):
        names.update(stored(site, _KIND))
    return [found for found in checkpoints_among(site.instance, names) if found.workspace_id == workspace_id]


def kept(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints of one workspace that are to be kept, oldest first."""
    ordered = sorted(checkpoints, key=lambda found: found.stamp)
    asked_for = [found for found in ordered if not found.is_scheduled][-MOST_CHECKPOINTS:]
    scheduled = [found for found in ordered if found.is_scheduled][-1:]
    return [found for found in ordered if found in asked_for or found in scheduled]


def _is_anothers(context: NodeContext, found: Checkpoint) -> bool:
    return was_anothers(context.store, found.workspace_id, found.taken_at, scheduled=found.is_scheduled)


def newest_checkpoint(
    context: NodeContext, workspace_id: str, *, taken_before: str | None = None, scheduled: bool = False
) -> Checkpoint | None:
    """The workspace's newest checkpoint, on this machine or in the registry, but none of a former participant's work.
    ``scheduled``: also one that was taken by the clock. Raises ENGINE_ERROR when this machine has none and the registry
    does not answer."""

    def newest(among: Iterable[Checkpoint]) -> Checkpoint | None:
        own = (found for found in among if found.workspace_id == workspace_id and found.is_scheduled <= scheduled)
        earlier = (found for found in own if taken_before is None or found.taken_at < taken_before)
        usable = (found for found in earlier if not _is_anothers(context, found))
        return max(usable, key=lambda found: found.stamp, default=None)

    local = all_checkpoints(context)
    try:
        return newest([*local, *stored_checkpoints(context.site)])
    except AtelierError:
        if (found := newest(local)) is None:
            raise
        return found


def store_checkpoint(context: NodeContext, workspace: Workspace, tag: str) -> Message | None:
    """Pushes a checkpoint of this machine to the registry, if there is one; returns why that failed."""
    if not context.site.nodes:
        return None
    try:
        push_checkpoint(context, tag)
    except AtelierError as error:
        return Message("checkpoint_not_stored", name=workspace.name, node=context.node, why=error.message)
    return None


def push_checkpoint(context: NodeContext, tag: str) -> None:
    image = context.engine.image(tag)
    if image is not None:
        publish(context, image, remote_name(context.site, tag))


def push_missing(context: NodeContext, workspace_id: str) -> None:
    """Pushes the workspace's checkpoints of this machine that the registry lacks: they follow it when it is moved."""
    local = checkpoints_of(context, workspace_id)
    present = stored_checkpoints(context.site) if local else []
    for checkpoint in local:
        if checkpoint not in present:
            push_checkpoint(context, checkpoint.tag)


def fetch_checkpoint(here: NodeContext, checkpoint: Checkpoint, there: NodeContext | None = None) -> str:
    """Brings a checkpoint to this machine, and to the registry if only ``there`` has it; returns its name."""
    if here.engine.image(checkpoint.tag) is None:
        if there is not None and checkpoint not in stored_checkpoints(here.site):
            push_checkpoint(there, checkpoint.tag)
        fetch_image(here, checkpoint.tag)
    return checkpoint.tag


def leave_checkpoints(context: NodeContext, workspace_id: str) -> None:
    """Removes from this machine the checkpoints of a workspace that left it; the registry has them."""
    present = stored_checkpoints(context.site)
    for checkpoint in checkpoints_of(context, workspace_id):
        if checkpoint in present:
            leave_checkpoint(context, checkpoint)


def leave_checkpoint(context: NodeContext, checkpoint: Checkpoint) -> None:
    """Removes one from this machine, unless a run works on a clone of its workspace here: a reset makes the clone's
    container from it. ``reconcile`` removes it later."""
    seats = (row for row in context.store.all(context.node) if row.cloned_from == checkpoint.workspace_id)
    if all(context.locks.workspace_free(seat.id) for seat in seats):
        context.engine.remove_image(checkpoint.tag, force=True)


def drop_checkpoint(context: NodeContext, checkpoint: Checkpoint) -> None:
    """Removes its name on this machine and in the registry; layers go with the last container that uses them."""
    context.engine.remove_image(checkpoint.tag, force=True)
    withdraw(context, [checkpoint.tag])


def remove_checkpoints(context: NodeContext, workspace_id: str) -> None:
    """Removes all checkpoints of a deleted workspace."""
    for checkpoint in checkpoints_of(context, workspace_id):
        drop_checkpoint(context, checkpoint)
    with suppress(AtelierError):
        withdraw(context, [c.tag for c in stored_checkpoints(context.site) if c.workspace_id == workspace_id])
