"""The list of projects as bytes, rebuilt only after changes."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from atelier.common.messages import tagged
from atelier.common.models import Workspace

from ..services.services import Services


class ProjectList:
    """Caches the last answer with the versions of database and watcher."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._body = b""

    def body(self, services: Services, node: str | None = None) -> bytes:
        """``{success, projects, count}``, of one machine if it is named. Dashboards ask for all every second, mostly to
        learn that nothing has changed."""
        if node is not None:
            return _made(services, services.reads.all(node))
        key = (services.reads.version(), services.watcher.version)
        if key != self._key:
            self._body = _made(services, services.reads.all())
            self._key = key
        return self._body


def _made(services: Services, rows: Sequence[Workspace]) -> bytes:
    projects = services.presenter.projects(rows)
    return orjson.dumps({"success": True, "projects": tagged(projects), "count": len(projects)})


class Topics:
    """The topics of the change feed as comparable states; the database is read again only after writes."""

    def __init__(self) -> None:
        self._version: tuple[int, int] | None = None
        self._written: dict[str, object] = {}

    def states(self, services: Services, projects: ProjectList) -> dict[str, object]:
        version = services.reads.version()
        if version != self._version:
            jobs = [(job.id, job.state, job.done, job.total) for job in services.read_jobs.all()]
            self._written = {"jobs": jobs, "claims": services.read_claims.open()}
            self._version = version
        # Whether Docker answers is seen beside each of them.
        return {"workspaces": (services.watcher.available, projects.body(services)), **self._written}
