"""Drift between Docker, the registry and the gateway: found, named, and repaired if that is wanted.

Repairing loses nothing: what has files of somebody's is adopted or marked, only what was half-made goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from .common.errors import AtelierError
from .common.models import Status, Workspace
from .containers.container import discard_container, observed_status, remove_container
from .containers.container_names import misnamed
from .containers.context import Platform
from .containers.snapshots import forget, interrupted, leftover_snapshots, recover, remove_leftovers
from .database.job_store import Jobs
from .database.rows import Batch
from .engine.interface import Container
from .gateway.aliases import alias_routes
from .gateway.haproxy import compare_routes
from .gateway.port_access import port_routes
from .git.client import open_forge, seats_of
from .workshop import rehearsal
from .workspaces.checkpoints import (
    all_checkpoints,
    bring_back,
    containers_of_the_past,
    drop_checkpoint,
    interrupted_resets,
)
from .workspaces.import_container import row_from_container
from .workspaces.listing import containers_by_id

_Busy = Callable[[Workspace], bool]


class Kind(StrEnum):
    ORPHAN_CONTAINER = "orphan_container"
    MISSING_CONTAINER = "missing_container"
    UNFINISHED_WORKSPACE = "unfinished_workspace"
    WRONG_NAME = "wrong_name"
    WRONG_STATUS = "wrong_status"
    ABANDONED_BATCH = "abandoned_batch"
    WRONG_ROUTES = "wrong_routes"
    INTERRUPTED_SNAPSHOT = "interrupted_snapshot"
    LEFTOVER_SNAPSHOT = "leftover_snapshot"
    LEFTOVER_VOLUME = "leftover_volume"
    LEFTOVER_GIT_ACCESS = "leftover_git_access"
    INTERRUPTED_RESET = "interrupted_reset"
    LEFTOVER_CONTAINER = "leftover_container"
    LEFTOVER_CHECKPOINT = "leftover_checkpoint"
    LEFTOVER_REHEARSAL = "leftover_rehearsal"


@dataclass(frozen=True)
class Drift:
    """One difference: its kind, what it concerns (an id or a name), a sentence on it, and how it is mended."""

    kind: Kind
    subject: str
    message: str
    remedy: str
    repair: Callable[[], None]


def find_drift(
    platform: Platform,
    given_up: Collection[str] = (),
    *,
    after_job: str | None = None,
    keep_hours: float = math.inf,
) -> list[Drift]:
    """Everything that is not as it should be, in the order in which it is to be repaired.

    ``given_up`` are workspaces that were being made by a job that is over and asks for this: what is half-made of them
    goes, their rows stay for the job to say why. ``after_job`` is that job's id. What resets moved aside goes after
    ``keep_hours``. Others work meanwhile, so what comes first in a making is looked at last, and each repair looks
    once more.
    """
    volumes = platform.engine.volumes(f"atelier.instance={platform.site.instance}")
    present = platform.engine.containers(f"atelier.instance={platform.site.instance}")
    names = misnamed(platform.site, present)
    renamed = [replace(found, name=names.get(found.name, found.name)) for found in present]
    containers = containers_by_id(platform, renamed)
    rows = platform.registry.all()
    by_id = {row.id: row for row in rows}
    busy = partial(_in_hand, platform, Jobs(platform.registry).promised_ids(but=after_job))
    return [
        *(_wrong_name(platform, found, names[found.name]) for found in present if found.name in names),
        *_interrupted_snapshots(platform, by_id, busy),
        *_interrupted_resets(platform, by_id, busy),
        *(_orphan(platform, id, container) for id, container in containers.items() if id not in by_id),
        *_rehearsals(platform),
        *_row_drift(platform, rows, containers, given_up, busy),
        *_abandoned_batches(platform),
        *_leftover_snapshots(platform),
        *_past(platform, by_id, by_id.keys() | containers.keys(), keep_hours, busy),
        *_leftover_volumes(platform, volumes, rows, containers),
        *_leftover_git_access(platform),
        *_wrong_routes(platform, rows),
    ]


def _wrong_name(platform: Platform, container: Container, wanted: str) -> Drift:
    """A seat's container by a name of before: an older Atelier made it, or the key for names was lost."""

    def mend() -> None:
        with platform.locks.workspace(container.labels["atelier.workspace"], platform.lock_wait):
            if platform.engine.inspect(container.name) is not None and platform.engine.inspect(wanted) is None:
                platform.engine.rename(container.name, wanted)

    return Drift(
        Kind.WRONG_NAME,
        container.name,
        f"The container {container.name} has an outdated name.",
        f"Rename it to {wanted}, while it runs.",
        mend,
    )


def _interrupted_snapshots(platform: Platform, rows: Mapping[str, Workspace], busy: _Busy) -> list[Drift]:
    found: list[Drift] = []
    for id in interrupted(platform):
        row = rows.get(id)
        if row is not None and busy(row):
            continue

        def repair(id: str = id) -> None:
            with platform.locks.workspace(id, platform.lock_wait):
                present = platform.registry.find(id=id)
                if present is None:
                    forget(platform, id)
                else:
                    recover(platform, present)

        found.append(
            Drift(
                Kind.INTERRUPTED_SNAPSHOT,
                row.name if row else id,
                f"A snapshot of {row.name!r} was interrupted: it may be paused, and its secrets removed."
                if row
                else f"Secrets of the deleted workspace {id} are still stored.",
                "Restore the secrets and unpause it." if row else "Delete them.",
                repair,
            )
        )
    return found


def _interrupted_resets(platform: Platform, rows: Mapping[str, Workspace], busy: _Busy) -> list[Drift]:
    def repair(row: Workspace) -> None:
        with platform.locks.workspace(row.id, platform.lock_wait):
            if platform.registry.find(id=row.id) is not None:
                bring_back(platform, row)

    return [
        Drift(
            Kind.INTERRUPTED_RESET,
            row.name,
            f"A reset of {row.name!r} was interrupted: its container is {moved} now.",
            "Restore that container, stopped. (Re-running the reset would complete it instead.)",
            lambda row=row: repair(row),  # type: ignore[misc]
        )
        for id, moved in interrupted_resets(platform).items()
        if (row := rows.get(id)) is not None and row.status is not Status.CREATING and not busy(row)
    ]


def _past(
    platform: Platform, rows: Mapping[str, Workspace], living: Collection[str], keep_hours: float, busy: _Busy
) -> list[Drift]:
    """What resets and checkpoints left of workspaces that are gone, and what was kept long enough. ``living`` are also
    those whose row was lost and is made anew."""

    def remove(name: str, id: str) -> None:
        with platform.locks.workspace(id, platform.lock_wait):
            remove_container(platform, name)

    containers = [
        Drift(
            Kind.LEFTOVER_CONTAINER,
            name,
            f"The container {name}, kept by a reset, is no longer needed.",
            "Remove it.",
            lambda name=name, id=id: remove(name, id),  # type: ignore[misc]
        )
        for name, (id, over) in containers_of_the_past(platform, keep_hours).items()
        if (over or id not in living) and not (id in rows and busy(rows[id]))
    ]
    checkpoints = [
        Drift(
            Kind.LEFTOVER_CHECKPOINT,
            checkpoint.tag,
            f"The checkpoint {checkpoint.tag} belongs to a workspace that is gone.",
            "Remove it.",
            lambda checkpoint=checkpoint: drop_checkpoint(platform, checkpoint),  # type: ignore[misc]
        )
        for checkpoint in all_checkpoints(platform)
        if checkpoint.workspace_id not in living
    ]
    return containers + checkpoints


def _rehearsals(platform: Platform) -> list[Drift]:
    """Seats of a rehearsal that was killed."""

    def clear() -> None:
        with suppress(AtelierError), platform.locks.rehearsal():  # one that has begun since does it itself
            rehearsal.remove_leftovers(platform)

    seats = rehearsal.leftovers(platform) if platform.locks.rehearsal_free() else []
    if not seats:
        return []
    message = f"{len(seats)} seats of an interrupted rehearsal still exist."
    return [Drift(Kind.LEFTOVER_REHEARSAL, seats[0].name, message, "Remove them.", clear)]


def _orphan(platform: Platform, id: str, container: Container) -> Drift:
    def adopt() -> None:
        with platform.locks.workspace(id, platform.lock_wait):
            present = platform.engine.inspect(container.name)
            if present is not None and platform.registry.find(id=id) is None:
                platform.registry.adopt(row_from_container(platform, id, present))

    return Drift(
        Kind.ORPHAN_CONTAINER,
        container.name,
        f"The container {container.name} ({container.labels.get('atelier.name', 'no name')!r}) has no registry row.",
        "Create its row from its labels.",
        adopt,
    )


def _row_drift(
    platform: Platform,
    rows: Sequence[Workspace],
    containers: Mapping[str, Container],
    given_up: Collection[str],
    busy: _Busy,
) -> list[Drift]:
    found: list[Drift] = []
    for row in rows:
        container = containers.get(row.id)
        if row.status is Status.CREATING and row.id in given_up:
            found.append(_given_up(platform, row))
            continue
        if busy(row):
            continue
        status, error = observed_status(row, container)
        if row.status is Status.CREATING:
            found.append(_unfinished(platform, row))
        elif status is not row.status or error != row.error:
            found.append(_wrong_status(platform, row, container, status))
    return found


def _wrong_status(platform: Platform, row: Workspace, container: Container | None, status: Status) -> Drift:
    def set_status() -> None:
        with platform.locks.workspace(row.id, platform.lock_wait):
            present = platform.registry.find(id=row.id)
            if present is not None:
                seen = platform.engine.inspect(platform.site.container_name(row.id))
                now_status, error = observed_status(present, seen)
                platform.registry.observe(present, now_status, error)

    gone = container is None
    return Drift(
        Kind.MISSING_CONTAINER if gone else Kind.WRONG_STATUS,
        row.name,
        f"The container of {row.name!r} is gone."
        if gone
        else f"{row.name!r} is {status}, the registry says {row.status}.",
        f"Set its status to {status}." + (" Start it to re-create it." if gone else ""),
        set_status,
    )


def _unfinished(platform: Platform, row: Workspace) -> Drift:
    def remove() -> None:
        with platform.locks.workspace(row.id, platform.lock_wait):
            # It may have been finished since it was found, and hold somebody's files by now.
            present = platform.registry.find(id=row.id)
            if (
                present is not None
                and present.status is Status.CREATING
                and not _is_promised(platform, Jobs(platform.registry).promised_ids(), present)
            ):
                discard_container(platform, present)
                platform.registry.delete(present.id)

    return Drift(
        Kind.UNFINISHED_WORKSPACE,
        row.name,
        f"The creation of {row.name!r} was interrupted, and no run continues it.",
        "Remove the incomplete workspace. (Re-running the interrupted playbook would complete it instead.)",
        remove,
    )


def _given_up(platform: Platform, row: Workspace) -> Drift:
    def discard() -> None:
        with platform.locks.workspace(row.id, platform.lock_wait):
            present = platform.registry.find(id=row.id)
            if present is not None and present.status is Status.CREATING:
                discard_container(platform, present)

    return Drift(
        Kind.UNFINISHED_WORKSPACE,
        row.name,
        f"The creation of {row.name!r} was abandoned.",
        "Remove what was half-made.",
        discard,
    )


def _abandoned_batches(platform: Platform) -> list[Drift]:
    """Clone orders that were interrupted and that nobody took up again: the next one of the same size would."""

    def close(batch: Batch) -> None:
        with platform.locks.batch(batch.id) as held:
            if held:
                platform.registry.close_batch(batch.id)

    return [
        Drift(
            Kind.ABANDONED_BATCH,
            batch.id,
            f"An order of {batch.count} clones was interrupted.",
            "Treat the existing clones as complete. (Re-running the interrupted playbook would complete it instead.)",
            lambda batch=batch: close(batch),  # type: ignore[misc]
        )
        for batch in platform.registry.open_batches()
        if platform.locks.batch_free(batch.id)
    ]


def _leftover_snapshots(platform: Platform) -> list[Drift]:
    return [
        Drift(
            Kind.LEFTOVER_SNAPSHOT,
            ", ".join(image.tags) or image.id,
            "An unused snapshot still exists.",
            "Remove it.",
            lambda image=image: remove_leftovers(platform, [image]),  # type: ignore[misc]
        )
        for image in leftover_snapshots(platform)
    ]


def _leftover_volumes(
    platform: Platform, volumes: Sequence[str], rows: Sequence[Workspace], containers: Mapping[str, Container]
) -> list[Drift]:
    def remove(volume: str) -> None:
        platform.engine.remove_volume(volume)

    used = {platform.site.volume_name(id) for id in (*containers, *(row.id for row in rows))}
    return [
        Drift(
            Kind.LEFTOVER_VOLUME,
            volume,
            f"The volume {volume} belongs to a workspace that is gone.",
            "Remove it.",
            lambda volume=volume: remove(volume),  # type: ignore[misc]
        )
        for volume in volumes
        if volume not in used
    ]


def _leftover_git_access(platform: Platform) -> list[Drift]:
    """Of workspaces that were removed while the git server could not be asked."""
    if platform.site.git is None:
        return []

    def end(id: str) -> None:
        open_forge(platform.site).revoke_seat(*seats_of(platform.site, id))
        platform.registry.revoked(id)

    return [
        Drift(
            Kind.LEFTOVER_GIT_ACCESS,
            id,
            f"The workspace {id} is gone, and may still have access to the repository {repository!r}.",
            "End it.",
            lambda id=id: end(id),  # type: ignore[misc]
        )
        for id, repository in platform.registry.unrevoked().items()
    ]


def _wrong_routes(platform: Platform, rows: Sequence[Workspace]) -> list[Drift]:
    maps = (
        (platform.gateway, {row.id: row.address for row in rows}, "routes"),
        (platform.aliases, alias_routes(platform.registry), "aliases"),
        (platform.ports, port_routes(platform.registry), "port settings"),
    )
    for table, wanted, what in maps:
        for place, present in (("file", table.saved()), ("running gateway", table.running())):
            changes = compare_routes(present, wanted) if present is not None else None
            if changes:
                wrong = [*changes.added, *changes.moved, *changes.removed]
                return [
                    Drift(
                        Kind.WRONG_ROUTES,
                        ", ".join(wrong)[:200],
                        f"The gateway's {place} has {len(wrong)} wrong, missing or left-over {what}.",
                        "Write the entries of the registry.",
                        platform.sync_routes,
                    )
                ]
    return []


def _in_hand(platform: Platform, promised: Collection[str], row: Workspace) -> bool:
    """Returns whether the workspace or its batch is locked, or is one of ``promised``: an unfinished job is for it."""
    return not platform.locks.workspace_free(row.id) or _is_promised(platform, promised, row)


def _is_promised(platform: Platform, promised: Collection[str], row: Workspace) -> bool:
    return row.id in promised or (row.batch is not None and not platform.locks.batch_free(row.batch))
