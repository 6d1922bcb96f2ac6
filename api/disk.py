"""How much disk a workspace takes: asked of Docker when somebody wants to know."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import docker
import requests
from atelier.errors import AtelierError, Code
from atelier.model import Workspace

from .presenter import size
from .settings import Settings


def disk_usage(settings: Settings, row: Workspace) -> dict[str, Any]:
    """``bytes`` is the container's own layer, ``totalBytes`` includes the image. Takes Docker up to some seconds.

    Raises SERVICE_UNAVAILABLE when Docker does not answer, PROJECT_NOT_FOUND when there is no container.
    """
    try:
        with closing(docker.APIClient(base_url=settings.site.engine_url, version="auto", timeout=60)) as api:
            found = api.containers(all=True, size=True, filters={"name": f"^{settings.site.container_name(row.id)}$"})
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise AtelierError(Code.SERVICE_UNAVAILABLE, "The Docker Engine does not answer.") from error
    if not found:
        raise AtelierError(Code.PROJECT_NOT_FOUND, "The workspace has no container.", field="projectId", value=row.id)
    own, total = int(found[0].get("SizeRw") or 0), int(found[0].get("SizeRootFs") or 0)
    return {"bytes": own, "totalBytes": total, "readable": size(own, " "), "totalReadable": size(total, " ")}
