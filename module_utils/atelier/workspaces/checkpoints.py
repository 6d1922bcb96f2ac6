"""Checkpoints of a seat, and resets to them: a new container with the same name, address and password.

A checkpoint is a snapshot with a permanent tag, ``<instance>/checkpoint:<id>-<time>``, with ``-<run>`` appended if it
was taken for a repeatable run. A reset stops the old container and keeps it for a while. Docker cannot change labels of
an existing container, so its name marks it, ``<container>-kept-<time>``. The new container is created under a temporary
name before the old one is stopped: a killed reset leaves one of both, and another run completes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIT_IMPORT, Status, Workspace
from ..common.validation import is_id
from ..containers.container import SNAPSHOT_LABEL, await_ide, observed_status, remove_container, seat_spec, start_seat
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.git_import import fetch
from ..containers.git_provisioning import repository_for
from ..containers.snapshots import recover, snapshot
from ..containers.template_images import TemplateImages
from ..database.claims import last_claim
from ..database.intent import stopped_on_purpose, wanted_up
from ..database.workspace_store import new_id
from ..engine.interface import Container
from .kept_ages import ages, note
from .views import view

MOST_CHECKPOINTS = 5
_RESET_LABEL = "atelier.reset"
_STAMP = "%Y%m%dt%H%M%S%fz"
_KEPT = re.compile(r"(?P<name>.+)-kept-(?P<stamp>[0-9]{8}t[0-9]{12}z)")
_NEW_SUFFIX = "-new"
_FETCH_SECONDS = 300.0
_RUN = re.compile(r"[a-z0-9]{1,32}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its image's name. ``taken_at`` is ISO 8601, UTC; ``stamp`` is the same as in the name; ``run_id``
    is the run that it was taken for, if given."""

    tag: str
    workspace_id: str
    taken_at: str
    stamp: str
    run_id: str | None = None


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
) -> tuple[bool, list[Checkpoint]]:
    """Takes a checkpoint of a workspace, running or stopped, and drops the oldest beyond five; returns whether one was
    taken, and all checkpoints.

    With a ``run_id``, a second run with the same one takes no other checkpoint. Raises PROJECT_NOT_FOUND,
    WORKSPACE_BUSY while the workspace is being created, VALIDATION_ERROR, SNAPSHOT_FAILED, DISK_FULL.
    """
    row = _row(context, id, name)
    context = context.at(row)
    _check_run(run_id)
    present = checkpoints_of(context, row.id)
    if run_id and any(checkpoint.run_id == run_id for checkpoint in present):
        return False, present
    if check_mode:
        return True, present
    batch = new_id()
    context.progress(Message("step.checkpoint", name=row.name), 0, 1)
    # As a snapshot first: one that is interrupted goes with the next snapshot that anybody takes.
    with context.locks.batch(batch), snapshot(context, row, batch) as image:
        run = f"-{run_id}" if run_id else ""
        # Newer than all that were taken before, and than the claims, so that order by name is the order of events.
        earlier = [found.stamp for found in checkpoints_of(context, row.id)]
        claimed = last_claim(context.store, row.id)
        stamp = stamp_after([*earlier, *([_stamp_of(claimed)] if claimed else [])])
        context.engine.tag(image.id, f"{_prefix(context, row.id)}{stamp}{run}")
    for old in checkpoints_of(context, row.id)[:-MOST_CHECKPOINTS]:
        drop_checkpoint(context, old)
    context.progress(Message("step.checkpoint", name=row.name), 1, 1)
    return True, checkpoints_of(context, row.id)


def _check_run(run_id: str | None) -> None:
    if run_id is not None and not _RUN.fullmatch(run_id):
        raise AtelierError(
            Code.VALIDATION_ERROR,
            Message("input.run_id", value=run_id[:40]),
            field="run_id",
            value=run_id[:40],
        )


def checkpoints_of(context: NodeContext, workspace_id: str) -> list[Checkpoint]:
    """The workspace's checkpoints, oldest first."""
    return [checkpoint for checkpoint in all_checkpoints(context) if checkpoint.workspace_id == workspace_id]


def all_checkpoints(context: NodeContext) -> list[Checkpoint]:
    """All checkpoints of the installation, each workspace's oldest first."""
    return checkpoints_among(context.site.instance, context.engine.image_tags(SNAPSHOT_LABEL))


def checkpoints_among(instance: str, tags: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of the instance among image names, each workspace's oldest first."""
    pattern = re.compile(
        rf"{re.escape(instance)}/checkpoint:(?P<id>[0-9a-f]{{12}})-(?P<stamp>[0-9]{{8}}t[0-9]{{12}}z)"
        rf"(?:-(?P<run>{_RUN.pattern}))?"
    )
    found = [match for tag in sorted(tags) if (match := pattern.fullmatch(tag))]
    return [Checkpoint(match[0], match["id"], _iso(match["stamp"]), match["stamp"], match["run"]) for match in found]


def drop_checkpoint(context: NodeContext, checkpoint: Checkpoint) -> None:
    """Removes its tag; Docker removes its layers with the last container that uses them."""
    context.engine.remove_image(checkpoint.tag, force=True)


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
        container = context.engine.inspect(context.site.container_name(row.id))
        before = _view(context, row, container)
        return ResetOutcome(True, before, {**before, "status": str(Status.RUNNING), "error": None}, "", None)
    with context.locks.workspace(row.id, context.lock_wait):
        row = _row(context, row.id, None)
        context = context.at(row)
        recover(context, row)
        container = context.engine.inspect(context.site.container_name(row.id))
        before = _view(context, row, container)
        if run_id and container and container.status == "running" and container.labels.get(_RESET_LABEL) == run_id:
            await_ide(context, row)
            if row.git_pending:
                fetch(context, row, None, _FETCH_SECONDS)
            if row.status is not Status.RUNNING:  # the attempt that made the container failed afterwards
                context.store.update(row.id, status=Status.RUNNING, error=None)
            after = _view(context, context.store.get(id=row.id), container)
            return ResetOutcome(after != before, before, after, "", None)
        context.progress(Message("step.reset", name=row.name), 0, 1)
        with _stopped_if_it_fails(context, row), _origin(context, row, container, taken_before) as (origin, image):
            kept = _replace_container(
                context, row, container, image, run_id, pending=GIT_IMPORT if origin == "repository" else None
            )
        context.progress(Message("step.reset", name=row.name), 1, 1)
        row = context.store.get(id=row.id)
        after = _view(context, row, context.engine.inspect(context.site.container_name(row.id)))
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
def _origin(
    context: NodeContext, row: Workspace, container: Container | None, taken_before: str | None
) -> Iterator[tuple[str, str]]:
    """The origin of the reset as a word, and its image, which exists for the length of the block."""
    base = context.store.find(id=row.cloned_from) if row.cloned_from else None
    own = [found for found in checkpoints_of(context, row.id) if taken_before is None or found.taken_at < taken_before]
    there = context.at(base) if base else None
    bases = checkpoints_of(there, base.id) if there and base else []
    if own:
        yield "checkpoint", own[-1].tag
    elif there and bases:
        yield "base", image_at(context, there, bases[-1].tag)
    elif there and base and there.engine.inspect(context.site.container_name(base.id)):
        run_id = new_id()
        with context.locks.batch(run_id), snapshot(there, base, run_id) as image:
            yield "base", image_at(context, there, image.tags[0])
    elif row.cloned_from and (former := container or _last_kept(context, row.id)):
        # The base is gone. The seat's container still uses the snapshot that it was created from.
        yield "original_image", former.image_id
    else:
        TemplateImages.of(context.on()).require(row.template)
        template = image_at(context, context.on(), context.site.template_image(row.template))
        yield "repository" if row.git_url else "template", template


def _replace_container(
    context: NodeContext, row: Workspace, old: Container | None, image: str, run_id: str | None, *, pending: str | None
) -> str | None:
    """Replaces the container by a new one of the image, and puts ``pending`` files into it; returns the old one's new
    name."""
    name = context.site.container_name(row.id)
    new = name + _NEW_SUFFIX
    context.engine.remove(new)  # what an interrupted one left
    labels = {_RESET_LABEL: run_id} if run_id else {}
    context.engine.create(seat_spec(context, row, image, new, labels))
    try:
        context.store.claim_running_slot(row.id)
    except AtelierError:
        context.engine.remove(new)
        raise
    # What leaves everything as it was has been raised by now; from here on the old one is in hand.
    kept = None
    if old is not None and old.status == "created":
        context.engine.remove(name)  # an interrupted reset's, which nobody ever used
    elif old is not None:
        earlier = [match["stamp"] for former in kept_among(name, _names(context)) if (match := _KEPT.fullmatch(former))]
        kept = f"{name}-kept-{stamp_after(earlier)}"
        context.engine.stop(name)
        context.engine.rename(name, kept)
    context.engine.rename(new, name)
    try:
        # Not earlier: a restored old container must be unchanged.
        context.store.update(row.id, git_pending=pending)
        # On its own branch again, whatever it was reset to; pushed commits stay on the git server.
        with repository_for(context, row, wanted=row.repository is not None) as push:

            def fill() -> None:
                if pending:
                    fetch(context, row, None, _FETCH_SECONDS)
                push()

            start_seat(context, row, fill)
    except AtelierError as error:
        if kept and error.code not in (Code.IDE_NOT_READY, Code.SERVICE_UNAVAILABLE):
            with suppress(AtelierError):
                context.engine.remove(name)
                restore_previous_container(context, row)
                context.store.update(row.id, git_pending=row.git_pending)
                if old is not None and old.status == "running":
                    start_seat(context, row)
        raise
    return kept


def interrupted_resets(context: NodeContext) -> dict[str, str]:
    """By workspace id, the kept container of killed resets that did not replace it."""
    names = _names(context)
    kept = ((match["name"], match[0]) for name in sorted(names) if (match := _KEPT.fullmatch(name)))
    return {names[moved]: moved for name, moved in kept if name not in names}


def restore_previous_container(context: NodeContext, row: Workspace) -> None:
    """Restores the old container of a seat whose reset was killed. The caller holds its lock."""
    former = _last_kept(context, row.id)
    if former is not None and context.engine.inspect(context.site.container_name(row.id)) is None:
        context.engine.rename(former.name, context.site.container_name(row.id))
        context.store.update(row.id, status=Status.STOPPED, error=None)


def stale_containers(context: NodeContext, keep_hours: float) -> dict[str, tuple[str, bool]]:
    """Unused new containers of resets, and kept ones. Maps container name to (workspace id, expired). Expired
    containers may be removed even if the workspace still exists."""
    names = _names(context)
    past = kept_longer(context.site.state_dir, names, keep_hours)
    found = {name: (id, name in past) for name, id in names.items() if is_id(id) and _KEPT.fullmatch(name)}
    made = {name: (id, True) for name, id in names.items() if is_id(id) and name.endswith(_NEW_SUFFIX)}
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
    for former in (name + _NEW_SUFFIX, *kept_among(name, _names(context))):
        remove_container(context, former)
    for checkpoint in checkpoints_of(context, workspace_id):
        drop_checkpoint(context, checkpoint)


def _last_kept(context: NodeContext, workspace_id: str) -> Container | None:
    kept = kept_among(context.site.container_name(workspace_id), _names(context))
    return context.engine.inspect(kept[-1]) if kept else None


def _names(context: NodeContext) -> dict[str, str]:
    return context.engine.container_names(f"atelier.instance={context.site.instance}")


def _row(context: Context, id: str | None, name: str | None) -> Workspace:
    row = context.store.get(id=id, name=name, field="id" if id else "name")
    if row.status is Status.CREATING:
        raise AtelierError(
            Code.WORKSPACE_BUSY, Message("still_being_made", name=row.name), field="id" if id else "name"
        )
    return row


def _view(context: Context, row: Workspace, container: Container | None) -> dict[str, object]:
    return view(context.site, row, *observed_status(row, container))


def _prefix(context: NodeContext, workspace_id: str) -> str:
    return f"{context.site.instance}/checkpoint:{workspace_id}-"


def stamp_after(earlier: Iterable[str]) -> str:
    """The present time for a name; if the clock was set back, the first time after all earlier stamps."""
    newest = max(earlier, default="")
    moment = datetime.now(UTC)
    if newest >= moment.strftime(_STAMP):
        moment = datetime.strptime(newest, _STAMP).replace(tzinfo=UTC) + timedelta(microseconds=1)
    return moment.strftime(_STAMP)


def _stamp_of(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone(UTC).strftime(_STAMP)


def _iso(stamp: str) -> str:
    moment = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
