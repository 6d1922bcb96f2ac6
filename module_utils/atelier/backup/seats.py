"""The workspaces' containers in a backup: an image of each one's files, secrets included, and its settings of git.

The images are Docker's own (commit, save, load), with the same names and the same fate as a clone's snapshot: a killed
run's are removed by the next snapshot, and a restored seat's live as long as its container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import CONTROLLER, MIB, Workspace
from ..common.portions import portions
from ..containers.container import SNAPSHOT_LABEL, discard_container, put_config, put_ide_config, seat_spec
from ..containers.context import NodeContext
from ..containers.git_provisioning import git_files
from ..containers.snapshots import SECRETS_LABEL, check_size, check_source, must_flatten, paused_for_copy
from ..engine.machine import free_on
from ..engine.models import Container, Image, Size
from ..workspaces.checkpoints import checkpoints_of
from ..workspaces.kept_containers import recovered
from .state_files import seat_folder

_OF_NODE = (Code.NODE_UNAVAILABLE, Code.ENGINE_ERROR, Code.DISK_FULL)
_OF_ALL = (Code.SERVICE_UNAVAILABLE, Code.DISK_FULL, Code.BACKUP_FAILED)
# A seat is paused while its files are copied, together with what pausing itself takes for less than a second. Larger
# ones are copied on while they run.
PAUSE_SECONDS = 0.5
_LOOK_SECONDS = 0.5
# The copies of so many bytes exist at a time, or that of one seat that has more.
_BATCH_BYTES = 1024 * MIB
_SPARE_BYTES = 256 * MIB


@dataclass(frozen=True)
class SavedSeat:
    """``container`` is the id of the container that was copied to ``image``; ``tags`` has its checkpoints, too.
    ``warning``: that it was paused for longer than others, and why."""

    container: str
    image: str
    tags: Sequence[str]
    warning: Message | None = None


def ends_one_node(error: AtelierError, node: str) -> bool:
    """Whether the error on that machine ends the work for it alone; the controller's ends all."""
    return node != CONTROLLER and error.code in _OF_NODE


def ends_all(error: AtelierError, node: str) -> bool:
    """Whether all other workspaces would fail as the one on that machine did."""
    return error.code in _OF_ALL and not ends_one_node(error, node)


def batches(rows: Sequence[Workspace], sizes: dict[str, Size], name: Callable[[str], str]) -> Iterator[list[Workspace]]:
    """The rows in groups whose own files fit into the space for copies."""
    return portions(rows, lambda row: sizes.get(name(row.id), Size(0, 0)).own, _BATCH_BYTES)


def check_space(context: NodeContext, batch: Sequence[Workspace], sizes: dict[str, Size]) -> None:
    """Raises DISK_FULL if Docker's disk has no room for the copies and for what Docker makes of them when it saves."""
    found = [sizes[name] for row in batch if (name := context.site.container_name(row.id)) in sizes]
    below = max((size.total - size.own for size in found), default=0)
    need = 2 * sum(size.own for size in found) + below + _SPARE_BYTES
    free = free_on(context.engine, context.node, context.site.instance)
    if free is not None and free < need:
        why = Message("backup.no_room", need=need // MIB, free=free // MIB)
        raise AtelierError(Code.DISK_FULL, why, field="site.engine_url")


def copy_seat(context: NodeContext, row: Workspace, run_id: str, work: Path) -> SavedSeat | None:
    """Copies the seat to an image, paused for a moment if it runs; None if it has no container here, or was moved.
    The caller holds the batch's lock. Raises WORKSPACE_BUSY, SNAPSHOT_FAILED (also for more than one seat may have),
    DISK_FULL."""
    with context.locks.workspace(row.id, context.lock_wait):
        present = context.store.find(id=row.id)
        if present is None or present.node != context.node:
            return None
        row, found = recovered(context, row)
        if found is None:
            return None
        container, base = check_source(context, row)
        tag = f"{context.site.instance}/snapshot:{row.id}-{token_hex(4)}-{run_id}"
        folder = seat_folder(work, row.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, content in git_files(context, row).items():
            (folder / file).write_bytes(content)
        make = context.engine.flatten if must_flatten(base) else context.engine.commit
        # Before the pause: with many files Docker takes longer for it than a seat may be paused.
        written = check_size(context, row, container)
        with ThreadPoolExecutor(1) as beside:
            with paused_for_copy(context, row, container):
                image = beside.submit(make, container.id, tag, _config(context, row, base))
                wait([image], PAUSE_SECONDS)
            warning = _pause_if_it_grows(context, row, container, image, written)
            image.result()
        if warning:
            try:
                check_size(context, row, container)
            except AtelierError:
                context.engine.remove_image(tag, force=True)
                raise
        tags = [tag, *(found.tag for found in checkpoints_of(context, row.id))]
        return SavedSeat(container.id, tag, tags, warning)


def _pause_if_it_grows(
    context: NodeContext, row: Workspace, container: Container, copy: Future[Image], written: int
) -> Message | None:
    """Waits for the end of the copy. A seat that has much more than it had is paused until then, since Docker's copy
    cannot be canceled and has the holes in files as zeros; returns a warning about that."""
    while not copy.done():
        wait([copy], _LOOK_SECONDS)
        if not copy.done() and context.engine.written(container.id) > written + _SPARE_BYTES:
            with paused_for_copy(context, row, container):
                wait([copy])
            return Message("backup.paused", name=row.name, more=_SPARE_BYTES // MIB)
    return None


def _config(context: NodeContext, row: Workspace, base: Image) -> dict[str, object]:
    # A restored seat may stand on the copy.
    own = {"atelier.instance": context.site.instance, SNAPSHOT_LABEL: row.id, SECRETS_LABEL: "true"}
    return {**base.config, "Labels": {**base.labels, **own}}


def drop_copies(context: NodeContext, saved: Iterable[SavedSeat]) -> None:
    """Removes the copies; a failure leaves them to the next snapshot."""
    for seat in saved:
        with suppress(AtelierError):
            context.engine.remove_image(seat.image, force=True)


def _below(image: str) -> str:
    """The name for the layers below a copy, with the same pattern."""
    rest, _, run_id = image.rpartition("-")
    return f"{rest}0-{run_id}"


def drop_loaded(context: NodeContext, images: Iterable[str]) -> None:
    """Removes the names of copies that containers were created from. The layers go with the containers."""
    for image in images:
        context.engine.remove_image(image, force=True)
        context.engine.remove_image(_below(image), force=True)


def make_seat_again(context: NodeContext, row: Workspace, image: str, work: Path) -> None:
    """Creates the seat's container from the copy, not started. Can be repeated."""
    with context.locks.workspace(row.id, context.lock_wait):
        name = context.site.container_name(row.id)
        discard_container(context, row)
        context.engine.create_from_copy(seat_spec(context, row, image, name), _below(image), SECRETS_LABEL)
        put_ide_config(context, row)
        put_config(context, row, {file.name: file.read_bytes() for file in seat_folder(work, row.id).glob("*")})
