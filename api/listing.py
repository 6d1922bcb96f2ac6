"""The list of projects as bytes, made anew only when something changed."""

from __future__ import annotations

import orjson

from .deps import Services


class ProjectList:
    """Remembers the last answer with the versions of registry and watcher that it was made from."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._body = b""

    def body(self, platform: Services) -> bytes:
        """``{success, projects, count}``. Dashboards ask every second, mostly to learn that all is as it was."""
        key = (platform.reads.version(), platform.watcher.version)
        if key != self._key:
            projects = [platform.presenter.project(row) for row in platform.reads.all()]
            self._body = orjson.dumps({"success": True, "projects": projects, "count": len(projects)})
            self._key = key
        return self._body


class JobTopic:
    """What the pages show of the newest jobs, looked at again only when something was written."""

    def __init__(self) -> None:
        self._version: tuple[int, int] | None = None
        self._state: list[tuple[object, ...]] = []

    def state(self, platform: Services) -> list[tuple[object, ...]]:
        version = platform.reads.version()
        if version != self._version:
            self._state = [(job.id, job.state, job.done, job.total) for job in platform.read_jobs.all()]
            self._version = version
        return self._state
