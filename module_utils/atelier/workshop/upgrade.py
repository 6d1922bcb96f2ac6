"""Gives seats their template's present image: a new IDE, security updates.

A seat keeps its row, so its id, address, password, claim, aliases and branch, and ``FOLDERS``. All else in its
container is the new image's. The new container is complete before the old one is renamed, and the old one is kept as
after a reset: a killed run leaves one of both, and another run completes it. A seat that does not come up goes back.
"""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import MIB, Status, Workspace
from ..containers.container import check_created, seat_spec, start_seat
from ..containers.context import Context, NodeContext
from ..containers.distribution import image_at
from ..containers.secret_paths import HOME
from ..containers.snapshots import check_size
from ..containers.template_images import TemplateImages, made_from
from ..database.intent import wanted_up
from ..engine.docker_errors import is_engine_away
from ..engine.machine import free_on
from ..engine.models import Container, File
from ..workspaces.kept_containers import NEW_SUFFIX, go_back, last_kept, recovered, remove_expired, set_aside
from ..workspaces.side_by_side import each_alone
from .tar_stream import within

# What a seat keeps of its container.
FOLDERS = ("/workspace", HOME)
_LABEL = "atelier.upgraded"
# Bytes that an upgrade leaves to all others.
_ROOM_LEFT = 1024 * MIB
_UP = ("running", "paused", "restarting")
# An upgrade copies files most of the time: more at once only wait for the disk.
_PER_CORE = 2


@dataclass(frozen=True)
class UpgradedSeat:
    """The result for one workspace. ``kept`` is the name of its old container, None if it was not replaced."""

    id: str
    name: str
    changed: bool = False
    kept: str | None = None
    error: str | None = None


def upgrade(
    context: Context,
    *,
    id: str | None = None,
    name: str | None = None,
    group: str | None = None,
    keep_hours: float,
    check_mode: bool = False,
) -> list[UpgradedSeat]:
    """Upgrades one workspace, those of a group, or all. Those that have their template's present image are left alone;
    stopped ones stay stopped.

    Of several, one that fails is as it was, with its error. Raises for one: PROJECT_NOT_FOUND, WORKSPACE_BUSY,
    INVALID_PROJECT_TYPE if its template's image cannot be had, TEMPLATE_BUILD_FAILED, CONCURRENT_LIMIT_REACHED,
    SNAPSHOT_FAILED if it has more files than may be copied, and why it went back.
    """
    if id is not None or name is not None:
        seats = [_upgrade(context, context.store.get(id=id, name=name), check_mode)]
    else:
        seats = each_alone(
            context,
            [row for row in context.store.all() if group in (None, row.group)],
            lambda row: _upgrade(context, row, check_mode),
            lambda row, error: UpgradedSeat(row.id, row.name, error=error.sentence),
            lambda _: Message("step.seats_upgraded"),
            per_core=_PER_CORE,
            name_of=lambda row: row.name,
        )
    if not check_mode and any(seat.changed for seat in seats):
        remove_expired(context, keep_hours)
    return seats


def _upgrade(context: Context, row: Workspace, check_mode: bool) -> UpgradedSeat:
    check_created(row)
    # Before the seat is touched; it may take minutes.
    current = TemplateImages.of(context.on()).bring_up_to_date(row.template, check_mode=check_mode)
    with nullcontext() if check_mode else context.locks.workspace(row.id, context.lock_wait):
        row = context.store.get(id=row.id)
        here = context.at(row)
        if not check_mode:
            row, _ = recovered(here, row)
        container = _container(here, row)
        runs = row.id in wanted_up(context.store)
        # A killed run may have started one that is not to run: nobody else counts it as running without wanting that.
        started = row.status is Status.RUNNING and not runs
        interrupted = _LABEL in container.labels and (container.status == "created" or started)
        if check_mode or (made_from(container.labels) == current and not interrupted):
            return UpgradedSeat(row.id, row.name, changed=made_from(container.labels) != current)
        context.progress(Message("step.upgrade", name=row.name), 0, 1)
        if interrupted:
            former = last_kept(here, row.id)
            kept = former.name if former else None
            _come_up(here, row, kept, runs=runs)
        else:
            kept = _replace(here, row, container)
        context.progress(Message("step.upgrade", name=row.name), 1, 1)
    return UpgradedSeat(row.id, row.name, changed=True, kept=kept)


def _container(here: NodeContext, row: Workspace) -> Container:
    """Raises SNAPSHOT_FAILED for a seat that has nothing to keep."""
    container = here.engine.inspect(here.site.container_name(row.id))
    if container is None:
        raise AtelierError(Code.SNAPSHOT_FAILED, Message("upgrade.no_container", name=row.name), field="name")
    return container


def _replace(here: NodeContext, row: Workspace, old: Container) -> str:
    """Replaces the container by one of the template's image; returns the old one's new name."""
    name = here.site.container_name(row.id)
    new = name + NEW_SUFFIX
    _check_room(here, row, check_size(here, row, old))
    image = image_at(here, here.on(), here.site.template_image(row.template))
    runs = old.status in _UP or row.id in wanted_up(here.store)
    here.engine.remove(new)  # what an interrupted one left
    here.engine.create(seat_spec(here, row, image, new, {_LABEL: "true"}))
    try:
        if runs and row.status is not Status.RUNNING:
            here.store.claim_running_slot(row.id, memory=here.engines.memory())
        # Nothing is written while it is copied. It may have created any file when it was stopped.
        here.engine.stop(name)
        _check_room(here, row, check_size(here, row, old))
        for folder in FOLDERS:
            _copy_folder(here, row, folder)
    except Exception:
        with suppress(AtelierError):  # the first error says more
            here.engine.remove(new)
            if old.status in _UP:
                start_seat(here, row)
        raise
    kept = set_aside(here, name)
    here.engine.rename(new, name)
    _come_up(here, row, kept, runs=runs)
    return kept


def _copy_folder(here: NodeContext, row: Workspace, folder: str) -> None:
    """Replaces the folder in the new container by that of the present one, with its owners, rights and times. Neither
    runs. Raises SNAPSHOT_FAILED for more than an archive of the workspace may hold."""
    name, limits = here.site.container_name(row.id), here.site.archive
    new, path = name + NEW_SUFFIX, PurePosixPath(folder)
    parent = str(path.parent)
    # Docker merges a folder into one that is there; a file in its place removes it with all that it holds.
    here.engine.put(new, parent, [File(path, b"", 0, 0, 0o600)])
    try:
        with closing(here.engine.stream(name, folder, limits.seconds)) as content:
            here.engine.unpack(new, parent, within(content, limits, row.name))
    except AtelierError as error:
        if error.code is not Code.ARCHIVE_FAILED:
            raise
        most = {"entries": limits.entries, "mib": limits.content_bytes // MIB, "seconds": limits.seconds}
        too_much = Message("upgrade.too_much", name=row.name, folder=folder, **most)
        raise AtelierError(Code.SNAPSHOT_FAILED, too_much, field="name") from error


def _check_room(here: NodeContext, row: Workspace, needed: int) -> None:
    """Raises DISK_FULL if the seat's files do not fit on the disk a second time: the old container keeps them."""
    free = free_on(here.engine, here.node, here.site.instance)
    if free is not None and free < needed + _ROOM_LEFT:
        told = Message("upgrade.no_room", name=row.name, needed=needed // MIB, free=free // MIB, left=_ROOM_LEFT // MIB)
        raise AtelierError(Code.DISK_FULL, told, field="name")


def _come_up(here: NodeContext, row: Workspace, kept: str | None, *, runs: bool) -> None:
    """Starts the new container, and stops it again if the seat does not run. If it does not come up, the seat has its
    old container again, and this raises."""
    name = here.site.container_name(row.id)
    try:
        # No start by decision: what is wanted of the seat stays. It counts as running, so that nobody takes it for one.
        here.store.update(row.id, status=Status.RUNNING)
        start_seat(here, row)
        if not runs:
            here.engine.stop(name)
            here.store.update(row.id, status=Status.STOPPED, error=None)
    except AtelierError as error:
        # After an outage only the next run can see which container the seat has.
        if kept is None or error.code is Code.NODE_UNAVAILABLE or is_engine_away(error):
            raise
        why = Message("upgrade.went_back", name=row.name, why=error.message)
        try:
            go_back(here, row, kept, start=runs)
        except AtelierError as second:
            why = Message("upgrade.not_back", name=row.name, why=error.message, then=second.message)
        raise AtelierError(error.code, why, field="name", workspace=row.id) from error
