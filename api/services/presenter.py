"""Workspaces as the HTTP contract shows them: camelCase, with older clients' keys beside the documented ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from atelier.common.models import Site, Status, StopReason, Workspace
from atelier.database.lasting_errors import shown
from atelier.database.workspace_store import WorkspaceStore
from atelier.gateway.aliases import Alias, all_aliases
from atelier.workspaces.disk_limits import Notice, notices
from atelier.workspaces.views import repository_view

from ..core.formatting import duration, size
from ..monitoring.docker_events import Watcher
from ..monitoring.stats import Sampler
from ..schemas.aliases import AliasView
from ..schemas.fields import TEMPLATE_FROM_GIT
from ..schemas.projects import DetailedProject, GitRepository, Project
from ..settings import Settings

UNGROUPED = "Uncategorized"


class Presenter:
    """Combines the data of database, watcher and sampler about a workspace."""

    def __init__(self, settings: Settings, watcher: Watcher, sampler: Sampler, store: WorkspaceStore) -> None:
        self._settings = settings
        self._store = store
        # Cached by the database's version, because a list needs them for each row.
        self._aliases = lru_cache(1)(lambda version: all_aliases(store))
        self._notices = lru_cache(1)(lambda version: notices(store))
        self._watcher = watcher
        self._sampler = sampler

    def project(self, row: Workspace) -> Project:
        """The one shape of a project everywhere."""
        return self.projects([row])[0]

    def projects(self, rows: Sequence[Workspace]) -> list[Project]:
        """Like ``project``, for several; reads other tables only once."""
        version = self._store.version()
        aliases, noted = self._aliases(version), self._notices(version)
        return [self._project(row, aliases.get(row.id, ()), noted.get(row.id)) for row in rows]

    def sources(self, rows: Sequence[Workspace]) -> list[tuple[object, ...]]:
        """The sources of each project besides its row: while they are equal, the project is unchanged."""
        version = self._store.version()
        aliases, noted = self._aliases(version), self._notices(version)
        outdated = self._watcher.is_outdated
        return [(*self._observed(row), outdated(row), aliases.get(row.id), noted.get(row.id)) for row in rows]

    def _project(self, row: Workspace, aliases: Sequence[Alias], notice: Notice | None) -> Project:
        status, error = self._observed(row)
        full = notice.sentence(running=status is not Status.STOPPED) if notice else None
        repository = _repository(self._settings.site, row)
        kind = TEMPLATE_FROM_GIT if row.git_url else row.template
        return {
            "id": row.id,
            "projectId": row.id,
            "name": row.name,
            "projectName": row.name,
            "type": kind,
            "projectType": kind,
            "status": status,
            "stoppedFor": stopped_for(row, status),
            "createdAt": row.created_at,
            "lastActivity": row.last_activity,
            "lastAccessed": row.last_activity,
            "workspaceUrl": self._settings.site.workspace_url(row.id),
            "passwordProtected": row.password_protected,
            "hasGitRepo": repository is not None,
            "gitRepoUrl": repository["webUrl"] if repository else None,
            "gitRepository": repository,
            "gitUrl": row.git_url,
            "group": row.group or UNGROUPED,
            "memoryLimit": row.limits.memory,
            "cpuCores": row.limits.cpus,
            "proxyMode": row.proxy_mode,
            "notes": row.notes,
            "clonedFrom": row.cloned_from,
            "node": row.node,
            "imageOutdated": self._watcher.is_outdated(row),
            "aliases": [alias_view(self._settings.site, alias) for alias in aliases],
            "diskUsage": None,
            "error": error or (full if status is Status.STOPPED else None),
            "diskWarning": full,
            "warnings": [row.git_problem] if row.git_problem else [],
        }

    def detailed(self, row: Workspace) -> DetailedProject:
        """A project with its container: state, health, uptime, resources. Figures are those of the last sample."""
        seen = self._watcher.seen.get(row.id)
        usage = self._sampler.usage.get(row.id)
        running = seen is not None and seen.status == "running"
        health = {Status.RUNNING: "healthy", Status.CREATING: "starting", Status.ERROR: "unhealthy"}
        return {
            **self.project(row),
            "container": {
                "status": seen.status if seen else "removed",
                "health": health.get(self.status(row), "none"),
                "uptime": duration(_since(seen.started_at)) if seen and running else "0m",
                "resources": {
                    "cpu": f"{usage.cpu * 100:.1f}%" if usage and running else "0.0%",
                    "memory": size(usage.memory) if usage and running else "0B",
                },
            },
        }

    def status(self, row: Workspace) -> Status:
        """The status as Docker reports it, or from the database while Docker does not answer."""
        return self._observed(row)[0]

    def disk_warning(self, row: Workspace) -> str | None:
        """A sentence on its disk that is nearly full or was; None if there is nothing to say."""
        notice = self._notices(self._store.version()).get(row.id)
        return notice.sentence(running=self.status(row) is not Status.STOPPED) if notice else None

    def fault(self, row: Workspace) -> str:
        """The workspace's error as a sentence, or an empty text."""
        return self._observed(row)[1] or self.disk_warning(row) or ""

    def _observed(self, row: Workspace) -> tuple[Status, str | None]:
        """Its status and its error."""
        seen = self._watcher.status(row) if self._watcher.available else (row.status, row.error)
        return shown(row, *seen)


def stopped_for(row: Workspace, status: Status) -> StopReason | None:
    """Why the workspace was stopped on purpose; None if it was not."""
    return StopReason(row.stop_reason) if row.stop_reason and status is Status.STOPPED else None


def _repository(site: Site, row: Workspace) -> GitRepository | None:
    found = repository_view(site, row)
    if found is None:
        return None
    return {
        "name": found["name"],
        "fullName": found["full_name"],
        "cloneUrl": found["clone_url"],
        "webUrl": found["web_url"],
        "branch": found["branch"],
    }


def alias_view(site: Site, alias: Alias) -> AliasView:
    """An alias as answers have it: never its hash."""
    return {
        "subdomain": alias.subdomain,
        "port": alias.port,
        "url": site.workspace_url(alias.subdomain),
        "basicAuth": alias.user is not None,
        "user": alias.user,
        "createdAt": alias.created_at,
    }


def _since(moment: str) -> float:
    """Seconds since a time as Docker writes it."""
    return max((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 0)
