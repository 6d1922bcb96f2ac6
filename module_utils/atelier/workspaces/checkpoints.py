"""Checkpoints of a seat, and resets to them: a new container with the same name, address and password.

A checkpoint is a snapshot with a permanent name (``checkpoint_images``). A reset stops the old container and keeps it
for a while. Docker cannot change labels of an existing container, so its name marks it, ``<container>-kept-<time>``.
The new container is created under a temporary name before the old one is stopped: a killed reset leaves one of both,
and another run completes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIT_IMPORT, Status, Workspace
from ..common.validation import is_id
from ..containers.container import (
    SNAPSHOT_LABEL,
    await_ide,
    container_of,
    remove_container,
    seat_spec,
    start_seat,
)
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.git_import import fetch
from ..containers.git_provisioning import repository_for
from ..containers.snapshots import recover, snapshot
from ..containers.template_images import TemplateImages
from ..database.claims import claim_times
from ..database.intent import stopped_on_purpose, wanted_up
from ..database.workspace_store import new_id
from ..engine.docker_errors import is_engine_away
from ..engine.models import Container
from .checkpoint_images import (
    RUN,
    SCHEDULED,
    STAMP,
    Checkpoint,
    checkpoints_of,
    drop_checkpoint,
    fetch_checkpoint,
    forget_stored,
    kept,
    known_checkpoints,
    name_prefix,
    newest_checkpoint,
    store_checkpoint,
)
from .kept_ages import ages, note
from .move import check_created
from .views import observed_view

_RESET_LABEL = "atelier.reset"
_KEPT = re.compile(r"(?P<name>.+)-kept-(?P<stamp>[0-9]{8}t[0-9]{12}z)")
NEW_SUFFIX = "-new"
_FETCH_SECONDS = 300.0


@dataclass(frozen=True)
class CheckpointOutcome:
    """``checkpoints`` are all of the workspace; ``problem`` is why the new one is not in the image registry."""

    changed: bool
    checkpoints: list[Checkpoint]
    problem: Message | None = None


@dataclass(frozen=True)
class ResetOutcome:
    """``origin`` is what the seat was reset to: ``checkpoint``, ``base``, ``original_image``, ``repository`` or
    ``template``; ``kept`` is the name of the old container."""

    changed: bool
    before: dict[str, object]
    after: dict[str, object]
    origin: str
    kept: str | None

    def view(self) -> dict[str, object]:
        """The checkpoint as modules return it."""
        return {
            "changed": self.changed,
            "diff": {"before": self.before, "after": self.after},
            "workspace": self.after,
            "origin": self.origin,
            "kept": self.kept,
        }


# --- Checkpoints -----------------------------------------------------------------------------------------------------


def take_checkpoint(
    context: Context, *, id: str | None, name: str | None, run_id: str | None = None, check_mode: bool = False
) -> CheckpointOutcome:
    """Takes a checkpoint of a workspace, running or stopped, and drops the oldest beyond five. With several machines it
    is pushed to the image registry; a failure to do so is returned, not raised.

    With a ``run_id``, a second run with the same one takes no other checkpoint, except with ``scheduled``: that one
    replaces the last of its kind. Raises PROJECT_NOT_FOUND,
    WORKSPACE_BUSY while the workspace is being created, VALIDATION_ERROR, SNAPSHOT_FAILED, DISK_FULL.
    """
    row = _row(context, id, name)
    context = context.at(row)
    _check_run(run_id)
    present = _known(context, row)
    done = next((found for found in present if run_id == found.run_id and run_id not in (None, SCHEDULED)), None)
    if check_mode:
        return CheckpointOutcome(done is None, present)
    if done is not None:
        # The run that took it may have been killed before it pushed it.
        return CheckpointOutcome(False, present, store_checkpoint(context, row, done.tag))
    batch = new_id()
    context.progress(Message("step.checkpoint", name=row.name), 0, 1)
    # As a snapshot first: one that is interrupted goes with the next snapshot that anybody takes.
    with context.locks.batch(batch), snapshot(context, row, batch) as image:
        run = f"-{run_id}" if run_id else ""
        # Newer than all that were taken before, and than the claims, so that order by name is the order of events.
        earlier = [found.stamp for found in (*present, *checkpoints_of(context, row.id))]
        _, claimed = claim_times(context.store, row.id)
        stamp = stamp_after([*earlier, *([_stamp_of(claimed)] if claimed else [])])
        tag = f"{name_prefix(context.site, row.id)}{stamp}{run}"
        context.engine.tag(image.id, tag)
    problem = store_checkpoint(context, row, tag)
    found = _known(context, row)
    remaining = kept(found)
    for old in found:
        if old not in remaining:
            drop_checkpoint(context, old)
    context.progress(Message("step.checkpoint", name=row.name), 1, 1)
    return CheckpointOutcome(True, remaining, problem)


def _known(context: NodeContext, row: Workspace) -> list[Checkpoint]:
    return known_checkpoints(context.site, row.id, context.engine.image_tags(f"{SNAPSHOT_LABEL}={row.id}"))


def _check_run(run_id: str | None) -> None:
    if run_id is not None and not RUN.fullmatch(run_id):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            Message("input.run_id", value=run_id[:40]),
            field="run_id",
            value=run_id[:40],
        )


# --- Beginning again -------------------------------------------------------------------------------------------------


def reset(
    context: Context,
    *,
    id: str | None,
    name: str | None,
    keep_hours: float,
    run_id: str | None = None,
    taken_before: str | None = None,
    check_mode: bool = False,
) -> ResetOutcome:
    """Resets the seat to its last checkpoint, or else its base. It runs afterwards, whatever its state was.

    With a ``run_id``, a second run with the same one changes nothing. The seat's own checkpoints are used only if they
    were ``taken_before`` that time. Raises PROJECT_NOT_FOUND, WORKSPACE_BUSY, CONCURRENT_LIMIT_REACHED, and what
    creating a seat raises. If the new container cannot be started or filled, the old one is restored, and restarted if
    it ran, except if the new IDE does not answer.
    """
    row = _row(context, id, name)
    if check_mode:
        context = context.at(row)
        container = container_of(context, row)
        before = observed_view(context.site, row, container)
        return ResetOutcome(True, before, {**before, "status": str(Status.RUNNING), "error": None}, "", None)
    with context.locks.workspace(row.id, context.lock_wait):
        row = _row(context, row.id, None)
        context = context.at(row)
        recover(context, row)
        container = container_of(context, row)
        before = observed_view(context.site, row, container)
        if run_id and container and container.status == "running" and container.labels.get(_RESET_LABEL) == run_id:
            await_ide(context, row)
            if row.git_pending:
                fetch(context, row, None, _FETCH_SECONDS)
            if row.status is not Status.RUNNING:  # the attempt that made the container failed afterwards
                context.store.update(row.id, status=Status.RUNNING, error=None)
            after = observed_view(context.site, context.store.get(id=row.id), container)
            return ResetOutcome(after != before, before, after, "", None)
        context.progress(Message("step.reset", name=row.name), 0, 1)
        own = newest_checkpoint(context, row.id, taken_before=taken_before)
        with _stopped_if_it_fails(context, row), origin_of(context, row, container, own) as (origin, image):
            kept = _replace_container(
                context, row, container, image, run_id, pending=GIT_IMPORT if origin == "repository" else None
            )
        context.progress(Message("step.reset", name=row.name), 1, 1)
        row = context.store.get(id=row.id)
        after = observed_view(context.site, row, container_of(context, row))
    remove_expired(context, keep_hours)
    return ResetOutcome(True, before, after, origin, kept)


@contextmanager
def _stopped_if_it_fails(context: NodeContext, row: Workspace) -> Iterator[None]:
    """Keeps a deliberately stopped seat stopped if its reset fails, unless its new container runs."""
    if row.id in wanted_up(context.store):
        yield
        return
    try:
        yield
    except AtelierError as error:
        if error.code is not Code.IDE_NOT_READY:
            with suppress(AtelierError):  # the first error says more
                if row.id in wanted_up(context.store):
                    stopped_on_purpose(context.store, row.id)
        raise


@contextmanager
def origin_of(
    context: NodeContext,
    row: Workspace,
    container: Container | None,
    own: Checkpoint | None,
) -> Iterator[tuple[str, str]]:
    """What the seat can begin from again: the origin as a word, and its image, which exists on this machine for the
    length of the block. ``own`` is the workspace's own checkpoint to use."""
    if own is not None:
        yield "checkpoint", fetch_checkpoint(context, own)
        return
    base = context.store.find(id=row.cloned_from) if row.cloned_from else None
    with _image_of(context, base) if base else nullcontext() as image:
        if image is not None:
            yield "base", image
            return
    if row.cloned_from and (former := container or last_kept(context, row.id)):
        # The base is gone. The seat's container still uses the snapshot that it was created from.
        yield "original_image", former.image_id
    else:
        TemplateImages.of(context.on()).require(row.template)
        template = image_at(context, context.on(), context.site.template_image(row.template))
        yield "repository" if row.git_url else "template", template


@contextmanager
def _image_of(context: NodeContext, base: Workspace) -> Iterator[str | None]:
    """The base's last checkpoint, or else its present state, brought to this machine; None when it has neither. Raises
    NODE_UNAVAILABLE when its machine does not answer and the registry has no checkpoint."""
    there, away = None, None
    try:
        there = context.at(base)
    except AtelierError as error:
        away = error
    last = newest_checkpoint(there or context, base.id, scheduled=there is None)
    if last is not None:
        # It stays here for the base's other seats; reconcile removes it.
        yield fetch_checkpoint(context, last, there)
    elif there and there.engine.inspect(context.site.container_name(base.id)):
        run_id = new_id()
        with context.locks.batch(run_id), snapshot(there, base, run_id) as image:
            yield image_at(context, there, image.tags[0])
    elif away is not None:
        raise away
    else:
        yield None


def _replace_container(
    context: NodeContext, row: Workspace, old: Container | None, image: str, run_id: str | None, *, pending: str | None
) -> str | None:
    """Replaces the container by a new one of the image, and puts ``pending`` files into it; returns the old one's new
    name."""
    name = context.site.container_name(row.id)
    new = name + NEW_SUFFIX
    context.engine.remove(new)  # what an interrupted one left
    labels = {_RESET_LABEL: run_id} if run_id else {}
    context.engine.create(seat_spec(context, row, image, new, labels))
    try:
        context.store.claim_running_slot(row.id, memory=context.engines.memory())
    except AtelierError:
        context.engine.remove(new)
        raise
    # What leaves everything as it was has been raised by now; from here on the old one is in hand.
    kept = None
    if old is not None and old.status == "created" and last_kept(context, row.id) is not None:
        # An interrupted reset's, which nobody ever used. A restored seat's container is in that state, too.
        context.engine.remove(name)
    elif old is not None:
        context.engine.stop(name)
        kept = set_aside(context, name)
    context.engine.rename(new, name)
    try:
        # Not earlier: a restored old container must be unchanged.
        context.store.update(row.id, git_pending=pending)
        # On its own branch again, whatever it was reset to; pushed commits stay on the git server.
        start_filled(context, row._replace(git_pending=pending))
    except AtelierError as error:
        if kept and error.code is not Code.IDE_NOT_READY and not is_engine_away(error):
            with suppress(AtelierError):
                go_back(context, name, kept)
                context.store.update(row.id, status=Status.STOPPED, error=None, git_pending=row.git_pending)
                if old is not None and old.status == "running":
                    start_seat(context, row)
        raise
    return kept


def start_filled(context: NodeContext, row: Workspace, *, restore: bool = False) -> None:
    """Starts a container that was just created, fetches the files that the row still lacks, and gives it access to its
    branch, which it pushes, or with ``restore`` fetches. Raises as ``make_seat`` and ``fetch``."""
    with repository_for(context, row, wanted=row.repository is not None, restore=restore) as push:

        def fill() -> None:
            if row.git_pending:
                fetch(context, row, None, _FETCH_SECONDS)
            push()

        start_seat(context, row, fill)


def set_aside(context: NodeContext, name: str) -> str:
    """Renames a container as one that is kept for a while; returns its new name."""
    earlier = [match["stamp"] for former in kept_among(name, _names(context)) if (match := _KEPT.fullmatch(former))]
    kept = f"{name}-kept-{stamp_after(earlier)}"
    context.engine.rename(name, kept)
    return kept


def go_back(context: NodeContext, name: str, kept: str) -> None:
    """Gives the kept container its name again, and removes the one that has it. If this is killed, the names are those
    that a killed reset leaves."""
    # Docker renames none that it is just restarting, as one does that does not come up.
    context.engine.stop(name)
    context.engine.rename(name, name + NEW_SUFFIX)
    context.engine.rename(kept, name)
    context.engine.remove(name + NEW_SUFFIX)


def interrupted_resets(context: NodeContext) -> dict[str, str]:
    """By workspace id, the old container of resets and upgrades that were killed between their two renames."""
    names = _names(context)
    workspaces = {match["name"] for name in names if (match := _KEPT.fullmatch(name))}
    return {names[former]: former for name in sorted(workspaces) if (former := _previous(name, names))}


def previous_container(context: NodeContext, workspace_id: str) -> Container | None:
    """The old container of a seat whose reset or upgrade was killed between its two renames."""
    former = _previous(context.site.container_name(workspace_id), _names(context))
    return context.engine.inspect(former) if former else None


def _previous(name: str, names: Collection[str]) -> str | None:
    """After such a death the new container still has its first name. If there is none, somebody removed the seat's own
    by hand; the kept one does not replace that, since it may have a former participant's files."""
    kept = kept_among(name, names)
    return kept[-1] if kept and name not in names and name + NEW_SUFFIX in names else None


def restore_previous_container(context: NodeContext, row: Workspace) -> None:
    """Gives ``previous_container`` its name again. The caller holds the seat's lock."""
    if former := previous_container(context, row.id):
        context.engine.rename(former.name, context.site.container_name(row.id))
        context.store.update(row.id, status=Status.STOPPED, error=None)


def stale_containers(context: NodeContext, keep_hours: float) -> dict[str, tuple[str, bool]]:
    """Unused new containers of resets, and kept ones. Maps container name to (workspace id, expired). Expired
    containers may be removed even if the workspace still exists."""
    names = _names(context)
    past = kept_longer(context.site.state_dir, names, keep_hours)
    found = {name: (id, name in past) for name, id in names.items() if is_id(id) and _KEPT.fullmatch(name)}
    made = {name: (id, True) for name, id in names.items() if is_id(id) and name.endswith(NEW_SUFFIX)}
    return dict(sorted({**found, **made}.items()))


def kept_longer(state_dir: Path, names: Iterable[str], keep_hours: float) -> set[str]:
    """The names of containers that were kept for longer than that, for certain."""
    kept = [name for name in names if _KEPT.fullmatch(name)]
    return {name for name, age in ages(state_dir, kept).items() if age >= keep_hours * 3600}


def remove_expired(context: Context, keep_hours: float) -> None:
    """Removes containers that were kept for longer than that, on all machines that answer."""
    found = [(here, _names(here)) for here in context.everywhere()]
    kept = [name for _, names in found for name in names]
    past = kept_longer(context.site.state_dir, kept, keep_hours)
    for here, names in found:
        for name in sorted(past.intersection(names)):
            remove_container(here, name)
    note_kept(context.site.state_dir, kept)


def note_kept(state_dir: Path, names: Iterable[str]) -> None:
    """Records how long the containers among the names have been kept."""
    note(state_dir, [name for name in names if _KEPT.fullmatch(name)])


def kept_among(workspace_container: str, names: Iterable[str]) -> list[str]:
    """The names of kept containers of that one, oldest first."""
    return [name for name in sorted(names) if (match := _KEPT.fullmatch(name)) and match["name"] == workspace_container]


def remove_history(context: NodeContext, workspace_id: str) -> None:
    """Removes the kept containers and checkpoints of a deleted workspace."""
    name = context.site.container_name(workspace_id)
    for former in (name + NEW_SUFFIX, *kept_among(name, _names(context))):
        remove_container(context, former)
    for checkpoint in checkpoints_of(context, workspace_id):
        drop_checkpoint(context, checkpoint)
    forget_stored(context, workspace_id)


def last_kept(context: NodeContext, workspace_id: str) -> Container | None:
    """The workspace's newest container that was replaced."""
    kept = kept_among(context.site.container_name(workspace_id), _names(context))
    return context.engine.inspect(kept[-1]) if kept else None


def _names(context: NodeContext) -> dict[str, str]:
    return context.engine.container_names(f"atelier.instance={context.site.instance}")


def _row(context: Context, id: str | None, name: str | None) -> Workspace:
    field = "id" if id else "name"
    row = context.store.get(id=id, name=name, field=field)
    check_created(row, field)
    return row


def stamp_after(earlier: Iterable[str]) -> str:
    """The present time for a name; if the clock was set back, the first time after all earlier stamps."""
    newest = max(earlier, default="")
    moment = datetime.now(UTC)
    if newest >= moment.strftime(STAMP):
        moment = datetime.strptime(newest, STAMP).replace(tzinfo=UTC) + timedelta(microseconds=1)
    return moment.strftime(STAMP)


def _stamp_of(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone(UTC).strftime(STAMP)
