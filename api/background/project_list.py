"""The list of projects as bytes, rebuilt only after changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

import orjson
from atelier.common.messages import tagged
from atelier.common.models import Workspace

from ..services.services import Services


class ProjectList:
    """Caches the last answer with the versions of database and watcher, and each project until it changes."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._body = b""
        # By workspace id: the sources of the project, and its JSON.
        self._parts: dict[str, tuple[object, bytes]] = {}

    def body(self, services: Services, node: str | None = None) -> bytes:
        """``{success, projects, count}``, of one machine if it is named. Dashboards ask for all every second, mostly to
        learn that nothing has changed."""
        if node is not None:
            return _whole(self._made(services, services.reads.all(node)).values())
        key = (services.reads.version(), services.watcher.version)
        if key != self._key:
            # Without those of workspaces that are gone.
            self._parts = self._made(services, services.reads.all())
            self._body = _whole(self._parts.values())
            self._key = key
        return self._body

    def _made(self, services: Services, rows: Sequence[Workspace]) -> dict[str, tuple[object, bytes]]:
        sources = {row.id: (row, more) for row, more in zip(rows, services.presenter.sources(rows), strict=True)}
        kept = {id: part for id, part in self._parts.items() if sources.get(id) == part[0]}
        changed = [row for row in rows if row.id not in kept]
        made = {project["id"]: orjson.dumps(tagged(project)) for project in services.presenter.projects(changed)}
        return {id: kept[id] if id in kept else (source, made[id]) for id, source in sources.items()}


def _whole(parts: Collection[tuple[object, bytes]]) -> bytes:
    return b'{"success":true,"projects":[%b],"count":%d}' % (b",".join(json for _, json in parts), len(parts))


def topics(services: Services, projects: ProjectList) -> Callable[[], dict[str, object]]:
    """Returns the topics of the change feed as comparable states; the database is read again only after writes."""

    @lru_cache(1)
    def written(version: tuple[int, int]) -> dict[str, object]:
        jobs = [(job.id, job.state, job.done, job.total) for job in services.read_jobs.all()]
        return {"jobs": jobs, "claims": services.read_claims.open()}

    def states() -> dict[str, object]:
        # Whether Docker answers is seen beside each of the projects.
        projects_now = (services.watcher.available, projects.body(services))
        return {"workspaces": projects_now, **written(services.reads.version())}

    return states
