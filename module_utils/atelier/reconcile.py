"""Drift between Docker, the registry and the gateway: found, named, and repaired if that is wanted.

Repairing loses nothing: what has files of somebody's is adopted or marked, only what was half-made goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .engine import Container
from .gateway import compare_routes
from .jobs import Jobs
from .model import CPU_COUNTS, MEMORY_SIZES, Limits, ProxyMode, Status, Workspace
from .platform import Platform
from .registry import now
from .seats import CONFIG_FOLDER, discard_container, observed_status
from .snapshots import interrupted, leftover_snapshots, recover, remove_leftovers

_PASSWORD_HASH = re.compile(rb'^hashed-password: "(.+)"$', re.MULTILINE)
_CONFIG_BYTES = 65536


class Kind(StrEnum):
    ORPHAN_CONTAINER = "orphan_container"
    MISSING_CONTAINER = "missing_container"
    UNFINISHED_WORKSPACE = "unfinished_workspace"
    WRONG_STATUS = "wrong_status"
    WRONG_ROUTES = "wrong_routes"
    INTERRUPTED_SNAPSHOT = "interrupted_snapshot"
    LEFTOVER_SNAPSHOT = "leftover_snapshot"
    LEFTOVER_VOLUME = "leftover_volume"


@dataclass(frozen=True)
class Drift:
    """One difference: its kind, what it concerns (an id or a name), a sentence on it, and how it is mended."""

    kind: Kind
    subject: str
    message: str
    remedy: str
    repair: Callable[[], None]


def find_drift(platform: Platform) -> list[Drift]:
    """Everything that is not as it should be, in the order in which it is to be repaired."""
    rows = platform.registry.all()
    containers = {
        container.labels["atelier.workspace"]: container
        for container in platform.engine.containers(f"atelier.instance={platform.site.instance}")
        if "atelier.workspace" in container.labels
    }
    known = {row.id for row in rows}
    return [
        *_interrupted_snapshots(platform, {row.id: row for row in rows}),
        *(_orphan(platform, id, container) for id, container in containers.items() if id not in known),
        *_row_drift(platform, rows, containers),
        *_leftover_snapshots(platform),
        *_leftover_volumes(platform, rows, containers),
        *_wrong_routes(platform, rows),
    ]


def _interrupted_snapshots(platform: Platform, rows: Mapping[str, Workspace]) -> list[Drift]:
    found: list[Drift] = []
    for id in interrupted(platform):
        row = rows.get(id)
        if row is None or _in_hand(platform, row):
            continue

        def repair(row: Workspace = row) -> None:
            with platform.locks.workspace(row.id, platform.lock_wait):
                recover(platform, row)

        found.append(
            Drift(
                Kind.INTERRUPTED_SNAPSHOT,
                row.name,
                f"A snapshot of {row.name!r} was interrupted: it may be paused, and its secrets held back.",
                "Put the secrets back and let it go on.",
                repair,
            )
        )
    return found


def _orphan(platform: Platform, id: str, container: Container) -> Drift:
    def adopt() -> None:
        platform.registry.adopt(_from_container(platform, id, container))

    return Drift(
        Kind.ORPHAN_CONTAINER,
        container.name,
        f"The container {container.name} ({container.labels.get('atelier.name', 'no name')!r}) has no registry row.",
        "Make its row from its labels.",
        adopt,
    )


def _from_container(platform: Platform, id: str, container: Container) -> Workspace:
    """A row rebuilt from what the container says of itself; unknown words become defaults."""
    labels = container.labels
    memory, cpus = labels.get("atelier.memory", ""), labels.get("atelier.cpus", "")
    config = platform.engine.read(container.id, f"{CONFIG_FOLDER}/config.yaml", _CONFIG_BYTES)
    password = _PASSWORD_HASH.search(config.data) if config else None
    name = labels.get("atelier.name", id)
    if platform.registry.find(name=name):
        name = f"{name} {id}"
    return Workspace(
        id=id,
        name=name,
        template=labels.get("atelier.template", "empty"),
        address=container.address or "",
        created_at=labels.get("atelier.created_at", now()),
        last_activity=now(),
        owner=labels.get("atelier.owner", "default"),
        group=labels.get("atelier.group"),
        notes="",
        password_hash=password.group(1).decode() if password else None,
        cloned_from=labels.get("atelier.cloned_from"),
        git_url=labels.get("atelier.git_url"),
        batch=None,
        error=None,
        status=Status.RUNNING if container.status == "running" else Status.STOPPED,
        proxy_mode=ProxyMode(labels.get("atelier.proxy_mode", "none")),
        limits=Limits(memory if memory in MEMORY_SIZES else Limits.memory, cpus if cpus in CPU_COUNTS else Limits.cpus),
    )


def _row_drift(platform: Platform, rows: Sequence[Workspace], containers: Mapping[str, Container]) -> list[Drift]:
    found: list[Drift] = []
    for row in rows:
        container = containers.get(row.id)
        if _in_hand(platform, row):
            continue
        status, error = observed_status(row, container)
        if row.status is Status.CREATING:
            found.append(_unfinished(platform, row))
        elif status is not row.status or error != row.error:

            def set_status(row: Workspace = row, status: Status = status, error: str | None = error) -> None:
                platform.registry.update(row.id, status=status, error=error)

            gone = container is None
            found.append(
                Drift(
                    Kind.MISSING_CONTAINER if gone else Kind.WRONG_STATUS,
                    row.name,
                    f"The container of {row.name!r} is gone."
                    if gone
                    else f"{row.name!r} is {status}, the registry says {row.status}.",
                    f"Set its status to {status}." + (" Start it to make it anew." if gone else ""),
                    set_status,
                )
            )
    return found


def _unfinished(platform: Platform, row: Workspace) -> Drift:
    def remove() -> None:
        with platform.locks.workspace(row.id, platform.lock_wait):
            discard_container(platform, row)
            platform.registry.delete(row.id)

    return Drift(
        Kind.UNFINISHED_WORKSPACE,
        row.name,
        f"The making of {row.name!r} was interrupted, and nobody is at it.",
        "Remove what was half-made. (Running the interrupted playbook again would finish it instead.)",
        remove,
    )


def _leftover_snapshots(platform: Platform) -> list[Drift]:
    return [
        Drift(
            Kind.LEFTOVER_SNAPSHOT,
            ", ".join(image.tags) or image.id,
            "A snapshot that nobody uses is still there.",
            "Remove it.",
            lambda image=image: remove_leftovers(platform, [image]),  # type: ignore[misc]
        )
        for image in leftover_snapshots(platform)
    ]


def _leftover_volumes(
    platform: Platform, rows: Sequence[Workspace], containers: Mapping[str, Container]
) -> list[Drift]:
    used = {platform.site.container_name(id) for id in (*containers, *(row.id for row in rows))}
    return [
        Drift(
            Kind.LEFTOVER_VOLUME,
            volume,
            f"The volume {volume} belongs to a workspace that is gone.",
            "Remove it.",
            lambda volume=volume: platform.engine.remove_volume(volume),  # type: ignore[misc]
        )
        for volume in platform.engine.volumes(f"atelier.instance={platform.site.instance}")
        if volume not in used
    ]


def _wrong_routes(platform: Platform, rows: Sequence[Workspace]) -> list[Drift]:
    wanted = {row.id: row.address for row in rows}
    for place, present in (("file", platform.gateway.saved()), ("running gateway", platform.gateway.running())):
        changes = compare_routes(present, wanted) if present is not None else None
        if changes:
            wrong = [*changes.added, *changes.moved, *changes.removed]
            return [
                Drift(
                    Kind.WRONG_ROUTES,
                    ", ".join(wrong)[:200],
                    f"The gateway's {place} has {len(wrong)} wrong, missing or left-over routes.",
                    "Write the routes of the registry.",
                    platform.sync_routes,
                )
            ]
    return []


def _in_hand(platform: Platform, row: Workspace) -> bool:
    """Whether somebody works on the workspace now, or is to: holds it, or the batch that it belongs to, or has an
    unfinished job for it."""
    if not platform.locks.workspace_free(row.id):
        return True
    if row.batch is not None and not platform.locks.batch_free(row.batch):
        return True
    return row.id in Jobs(platform.registry).promised_ids()
