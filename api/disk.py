"""What Docker is asked of one workspace when somebody wants to know: its disk, its checkpoints, its open ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import docker
import requests
from atelier.checkpoints import Checkpoint, checkpoints_among, kept_among, kept_longer, note_kept
from atelier.docker_engine import DockerEngine
from atelier.errors import AtelierError, Code
from atelier.model import Workspace
from atelier.ports import listening_ports
from atelier.seats import SNAPSHOT_LABEL

from .presenter import size
from .settings import Settings

# Some five thousand lines of each table, of which those that listen come first: a seat with more has its first ports
# shown.
_PORT_TABLES = ("/usr/bin/head", "--quiet", "--bytes=1000000", "/proc/net/tcp", "/proc/net/tcp6")
_TABLE_SECONDS = 5.0
_PATIENCE_SECONDS = 5
_LARGEST_TABLE = 2 * 1024**2
_SHOWN_PORTS = 256


def disk_usage(settings: Settings, row: Workspace) -> dict[str, Any]:
    """``bytes`` is the container's own layer, ``totalBytes`` includes the image; what its checkpoints take, and the
    containers that resets moved aside, comes besides. Takes Docker up to some seconds.

    Raises SERVICE_UNAVAILABLE when Docker does not answer, PROJECT_NOT_FOUND when there is no container.
    """
    name = settings.site.container_name(row.id)
    with _engine(settings) as api:
        listed = api.containers(all=True, size=True, filters={"name": f"^{name}(-kept-.*)?$"})
        found = {entry["Names"][0].lstrip("/"): entry for entry in listed}
        checkpoints = _checkpoints(api, settings, row)
        # Each adds one layer to what the seat stood on: its newest.
        taken = sum(int(api.history(checkpoint.tag)[0]["Size"]) for checkpoint in checkpoints)
    if name not in found:
        raise AtelierError(
            Code.PROJECT_NOT_FOUND,
            "The workspace has no container.",
            field="projectId",
            value=row.id,
            remedy="Start the workspace: it is made again then.",
        )
    own, total = int(found[name].get("SizeRw") or 0), int(found[name].get("SizeRootFs") or 0)
    kept = sum(int(found[former].get("SizeRw") or 0) for former in kept_among(name, found))
    return {
        "bytes": own,
        "totalBytes": total,
        "readable": size(own, " "),
        "totalReadable": size(total, " "),
        "checkpoints": len(checkpoints),
        "checkpointBytes": taken,
        "keptBytes": kept,
        # None: no limit.
        "limitBytes": settings.site.seat_disk or None,
        "limitReadable": size(settings.site.seat_disk, " ") if settings.site.seat_disk else None,
        "percent": round(100 * own / settings.site.seat_disk, 1) if settings.site.seat_disk else None,
    }


def checkpoints(settings: Settings, row: Workspace) -> list[Checkpoint]:
    """The workspace's checkpoints, oldest first. Raises SERVICE_UNAVAILABLE when Docker does not answer."""
    with _engine(settings) as api:
        return _checkpoints(api, settings, row)


def _checkpoints(api: docker.APIClient, settings: Settings, row: Workspace) -> list[Checkpoint]:
    images = api.images(filters={"label": f"{SNAPSHOT_LABEL}={row.id}"})
    tags = [tag for image in images for tag in image["RepoTags"] or ()]
    return [found for found in checkpoints_among(settings.site.instance, tags) if found.workspace_id == row.id]


def is_past_kept(settings: Settings) -> bool:
    """Whether a container that a reset moved aside is there for longer than such are kept. Raises SERVICE_UNAVAILABLE
    when Docker does not answer."""
    with _engine(settings) as api:
        listed = api.containers(all=True, filters={"label": f"atelier.instance={settings.site.instance}"})
    names = [name.lstrip("/") for entry in listed for name in entry["Names"]]
    past = kept_longer(settings.site.state_dir, names, settings.reset_keep_hours)
    note_kept(settings.site.state_dir, names)
    return bool(past)


def open_ports(settings: Settings, row: Workspace) -> dict[int, bool]:
    """Ports that something in the workspace listens on, and whether the gateway reaches them; none while it does not
    run, and of more than a page can show the first ones. Raises SERVICE_UNAVAILABLE when Docker does not answer,
    ENGINE_ERROR when the workspace keeps the table back."""
    engine, name = (
        DockerEngine(settings.site.engine_url, patience=_PATIENCE_SECONDS),
        settings.site.container_name(row.id),
    )
    container = engine.inspect(name)
    if container is None or container.status != "running":
        return {}
    _, output = engine.execute(name, _PORT_TABLES, seconds=_TABLE_SECONDS, limit=_LARGEST_TABLE)
    return dict(sorted(listening_ports(output).items())[:_SHOWN_PORTS])


@contextmanager
def _engine(settings: Settings) -> Iterator[docker.APIClient]:
    try:
        with closing(docker.APIClient(base_url=settings.site.engine_url, version="auto", timeout=60)) as api:
            yield api
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise AtelierError(
            Code.SERVICE_UNAVAILABLE, "The Docker Engine does not answer.", remedy="Start it, then try again."
        ) from error
