"""Queries Docker about one workspace on demand: disk, checkpoints, open ports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.containers.container import SNAPSHOT_LABEL
from atelier.containers.engines import open_engine
from atelier.host.ports import listening_ports
from atelier.workspaces.checkpoints import Checkpoint, checkpoints_among, known_checkpoints
from atelier.workspaces.kept_containers import kept_among, kept_longer, note_kept

from ..core.formatting import size
from ..schemas.projects import CheckpointView, DiskUsageFigures
from ..settings import Settings
from .services import Services

# Some five thousand lines of each table, of which those that listen come first: a seat with more has its first ports
# shown.
_PORT_TABLES = ("/usr/bin/head", "--quiet", "--bytes=1000000", "/proc/net/tcp", "/proc/net/tcp6")
_TABLE_SECONDS = 5.0
_PATIENCE_SECONDS = 60
_PORTS_PATIENCE_SECONDS = 5
_LARGEST_TABLE = 2 * 1024**2
_SHOWN_PORTS = 256


async def disk_usage(services: Services, row: Workspace) -> DiskUsageFigures:
    """``bytes`` is the container's own layer, ``totalBytes`` includes the image; checkpoints and kept containers come
    on top. Takes Docker up to some seconds.

    Raises SERVICE_UNAVAILABLE if Docker does not answer, PROJECT_NOT_FOUND if there is no container.
    """
    services.require_docker()
    return await services.seat_threads.ask(("disk", row.id), _disk_usage, services.settings, row)


async def checkpoints(services: Services, row: Workspace) -> list[CheckpointView]:
    """The workspace's checkpoints, oldest first. Raises SERVICE_UNAVAILABLE when Docker does not answer."""
    found = await services.seat_threads.ask(("checkpoints", row.id), _all_checkpoints, services.settings, row)
    # A reset uses no scheduled one.
    return [{"takenAt": checkpoint.taken_at} for checkpoint in found if not checkpoint.is_scheduled]


async def open_ports(services: Services, row: Workspace) -> dict[int, bool]:
    """The workspace's listening ports, and whether the gateway can reach them; empty if it does not run, truncated to
    what a page can show. Raises SERVICE_UNAVAILABLE if Docker does not answer, ENGINE_ERROR if the workspace prevents
    reading."""
    services.require_docker()
    return await services.seat_threads.ask(("ports", row.id), _open_ports, services.settings, row)


def is_past_kept(settings: Settings, nodes: Sequence[str]) -> bool:
    """Whether a kept container on these machines has expired. Raises SERVICE_UNAVAILABLE or NODE_UNAVAILABLE if Docker
    does not answer."""
    names: list[str] = []
    for node in nodes:
        with closing(open_engine(settings.site, node, patience=_PATIENCE_SECONDS)) as engine:
            names += engine.container_names(f"atelier.instance={settings.site.instance}")
    past = kept_longer(settings.site.state_dir, names, settings.reset_keep_hours)
    note_kept(settings.site.state_dir, names)
    return bool(past)


def _disk_usage(settings: Settings, row: Workspace) -> DiskUsageFigures:
    name = settings.site.container_name(row.id)
    with closing(open_engine(settings.site, row.node, patience=_PATIENCE_SECONDS)) as engine:
        found = engine.sizes(f"atelier.instance={settings.site.instance}", f"atelier.workspace={row.id}")
        tags = engine.image_tags(f"{SNAPSHOT_LABEL}={row.id}")
        checkpoints = [
            found for found in checkpoints_among(settings.site.instance, tags) if found.workspace_id == row.id
        ]
        taken = sum(engine.layer_size(checkpoint.tag) for checkpoint in checkpoints)
    if name not in found:
        raise AtelierError(Code.PROJECT_NOT_FOUND, Message("api.no_container"), field="projectId", value=row.id)
    own, total, limit = found[name].own, found[name].total, settings.site.seat_disk or None
    return {
        "bytes": own,
        "totalBytes": total,
        "readable": size(own, " "),
        "totalReadable": size(total, " "),
        "checkpoints": len(checkpoints),
        "checkpointBytes": taken,
        "keptBytes": sum(found[former].own for former in kept_among(name, found)),
        "limitBytes": limit,
        "limitReadable": size(limit, " ") if limit else None,
        "percent": round(100 * own / limit, 1) if limit else None,
    }


def _all_checkpoints(settings: Settings, row: Workspace) -> list[Checkpoint]:
    local: list[str] = []
    try:
        with closing(open_engine(settings.site, row.node, patience=_PATIENCE_SECONDS)) as engine:
            local = engine.image_tags(f"{SNAPSHOT_LABEL}={row.id}")
    except AtelierError as error:
        if error.code is not Code.NODE_UNAVAILABLE:  # the registry has them, too
            raise
    return known_checkpoints(settings.site, row.id, local)


def _open_ports(settings: Settings, row: Workspace) -> dict[int, bool]:
    name = settings.site.container_name(row.id)
    with closing(open_engine(settings.site, row.node, patience=_PORTS_PATIENCE_SECONDS)) as engine:
        container = engine.inspect(name)
        if container is None or container.status != "running":
            return {}
        _, output = engine.execute(name, _PORT_TABLES, seconds=_TABLE_SECONDS, limit=_LARGEST_TABLE)
    return dict(sorted(listening_ports(output).items())[:_SHOWN_PORTS])
