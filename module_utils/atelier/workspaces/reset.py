"""Resets a seat to its checkpoint or its base: a new container with the same id, address and password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import GIT_IMPORT, Status, Workspace
from ..containers.container import SNAPSHOT_LABEL, await_ide, check_created, container_of, seat_spec, start_seat
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.git_import import FETCH_SECONDS, fetch
from ..containers.git_provisioning import repository_for
from ..containers.proxy_environment import put_proxy_ca, trust_proxy_ca
from ..containers.snapshots import snapshot
from ..containers.template_images import TemplateImages
from ..database.intent import stopped_on_purpose, wanted_up
from ..database.workspace_store import new_id
from ..engine.docker_errors import is_engine_away
from ..engine.models import Container
from .checkpoints import Checkpoint, fetch_checkpoint, newest_checkpoint
from .kept_containers import NEW_SUFFIX, go_back, last_kept, recovered, remove_expired, set_aside
from .views import Change, current_view, observed_view

_RESET_LABEL = "atelier.reset"


@dataclass(frozen=True)
class ResetOutcome(Change):
    """``origin`` is what the seat was reset to: ``checkpoint``, ``base``, ``original_image``, ``repository`` or
    ``template``; ``kept`` is the name of the old container."""

    origin: str
    kept: str | None

    def view(self) -> dict[str, object]:
        return {**super().view(), "origin": self.origin, "kept": self.kept}


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
    row = context.store.get(id=id, name=name)
    check_created(row, "id" if id else "name")
    if check_mode:
        before = current_view(context, row)
        return ResetOutcome(True, before, {**before, "status": str(Status.RUNNING), "error": None}, "", None)
    with context.locks.workspace(row.id, context.lock_wait):
        row = context.store.get(id=row.id)
        check_created(row)
        context = context.at(row)
        row, container = recovered(context, row)
        before = observed_view(context.site, row, container)
        if run_id and container and container.status == "running" and container.labels.get(_RESET_LABEL) == run_id:
            # The attempt that started it may have ended before this.
            if put_proxy_ca(context, row):
                trust_proxy_ca(context, container.name)
            await_ide(context, row)
            if row.git_pending:
                fetch(context, row, None, FETCH_SECONDS)
            # The attempt that made the container may have failed afterwards.
            context.store.update(row.id, status=Status.RUNNING, error=None, unreleased=None)
            after = observed_view(context.site, context.store.get(id=row.id), container)
            return ResetOutcome(after != before, before, after, "", None)
        context.progress(Message("step.reset", name=row.name), 0, 1)
        own = newest_checkpoint(context, row.id, taken_before=taken_before)
        released = taken_before is not None or row.unreleased is not None
        chosen = origin_of(context, row, container, own, released=released)
        with _stopped_if_it_fails(context, row), chosen as (origin, image):
            pending = GIT_IMPORT if origin == "repository" else None
            kept = _replace_container(context, row, container, image, run_id, pending=pending)
            context.store.update(row.id, unreleased=None)
        context.progress(Message("step.reset", name=row.name), 1, 1)
        after = current_view(context, context.store.get(id=row.id))
    remove_expired(context, keep_hours)
    return ResetOutcome(True, before, after, origin, kept)


@contextmanager
def _stopped_if_it_fails(context: NodeContext, row: Workspace) -> Iterator[None]:
    """Keeps a deliberately stopped seat stopped if its reset fails, unless its new container runs."""
    was_stopped = row.id not in wanted_up(context.store)
    try:
        yield
    except AtelierError as error:
        if was_stopped and error.code is not Code.IDE_NOT_READY:
            with suppress(AtelierError):  # the first error says more
                if row.id in wanted_up(context.store):
                    stopped_on_purpose(context.store, row.id)
        raise


@contextmanager
def origin_of(
    context: NodeContext, row: Workspace, container: Container | None, own: Checkpoint | None, *, released: bool = False
) -> Iterator[tuple[str, str]]:
    """The seat's new start: its origin as a word, and its image, which exists on this machine within the block.
    ``own`` is the workspace's own checkpoint to use. ``released``: it is for another participant."""
    if own is not None:
        yield "checkpoint", fetch_checkpoint(context, own)
        return
    base = context.store.find(id=row.cloned_from) if row.cloned_from else None
    with _image_of(context, base) if base else nullcontext() as image:
        if image is not None:
            yield "base", image
            return
    former = (container or last_kept(context, row.id)) if row.cloned_from else None
    if former and not (released and _has_own_files(context, row, former)):
        # The base is gone. The seat's container still uses the snapshot that it was created from.
        yield "original_image", former.image_id
    else:
        TemplateImages.of(context.on()).require(row.template)
        template = image_at(context, context.on(), context.site.template_image(row.template))
        yield "repository" if row.git_url else "template", template


def _has_own_files(context: NodeContext, row: Workspace, container: Container) -> bool:
    """Whether the container was made from a copy of the seat itself: by a move, from a checkpoint, or in a restore."""
    image = context.engine.image(container.image_id)
    return image is not None and image.labels.get(SNAPSHOT_LABEL) == row.id


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
    elif there and container_of(there, base):
        run_id = new_id()
        with context.locks.batch(run_id), snapshot(there, base, run_id) as (there, image):
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
                go_back(context, row, kept, start=old is not None and old.status == "running")
        raise
    # It has all that a beginning elsewhere had left to give it.
    context.store.end_beginning(row.id)
    return kept


def start_filled(context: NodeContext, row: Workspace, *, restore: bool = False) -> None:
    """Starts a container that was just created, fetches the files that the row still lacks, and gives it access to its
    branch, which it pushes, or with ``restore`` fetches. Raises as ``make_seat`` and ``fetch``."""
    with repository_for(context, row, wanted=row.repository is not None, restore=restore) as push:

        def fill() -> None:
            if row.git_pending:
                fetch(context, row, None, FETCH_SECONDS)
            push()

        start_seat(context, row, fill)
