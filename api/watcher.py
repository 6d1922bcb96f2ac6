"""Follows Docker's events, so that reads know every container's state without asking Docker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker
import requests
from atelier.docker_engine import container_from
from atelier.engine import Container
from atelier.errors import AtelierError
from atelier.model import Site
from atelier.registry import Registry
from atelier.seats import observed_status

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_LABEL = "atelier.workspace"
# Events of a container that say nothing of its state.
_NO_CHANGE = ("exec_", "top", "archive-path", "extract-to-dir")


@dataclass(frozen=True)
class Seen:
    """A container as it was last seen. ``started_at`` as Docker writes it."""

    container: Container
    started_at: str


class Watcher(threading.Thread):
    """A thread that keeps ``seen`` current: by workspace id, what Docker last said of its container.

    After a break (dockerd restarted) it looks at everything anew. ``version`` grows with each change. What happened
    behind our back is also written to the registry, whose quotas count what runs.
    """

    def __init__(self, site: Site, registry: Registry) -> None:
        super().__init__(name="docker-watcher", daemon=True)
        self._site = site
        self._registry = registry
        self._stop = threading.Event()
        self._seen: dict[str, Seen] = {}
        self._filters = {"label": [f"atelier.instance={site.instance}"]}
        self.version = 0
        self.available = False

    @property
    def seen(self) -> Mapping[str, Seen]:
        return self._seen

    def container(self, workspace_id: str) -> Container | None:
        seen = self._seen.get(workspace_id)
        return seen.container if seen else None

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
                if self.available:
                    log.warning("Docker does not answer: %s", error)
                self.available = False
                self.version += 1
                self._stop.wait(_RETRY_SECONDS)

    def stop(self) -> None:
        self._stop.set()

    def _follow(self) -> None:
        api = docker.APIClient(base_url=self._site.engine_url, version="auto", timeout=30)
        # The stream is opened before the look, so that nothing falls between the two.
        events = api.events(filters={**self._filters, "type": "container"}, decode=True)
        self._look_at_all(api)
        self.available = True
        self.version += 1
        # The stream may be silent for hours; a time limit of its own would end it.
        for event in events:
            if self._stop.is_set():
                return
            workspace_id = event.get("Actor", {}).get("Attributes", {}).get(_LABEL)
            if workspace_id and not str(event.get("Action", "")).startswith(_NO_CHANGE):
                self._look_at(api, workspace_id, event["Actor"]["ID"])
        raise OSError("the event stream ended")

    def _look_at_all(self, api: docker.APIClient) -> None:
        found: dict[str, Seen] = {}
        for entry in api.containers(all=True, filters=self._filters):
            workspace_id = entry["Labels"].get(_LABEL)
            if workspace_id:
                seen = _inspect(api, entry["Id"])
                if seen is not None:
                    found[workspace_id] = seen
        self._seen = found
        for row in self._registry.all():
            self._correct(row.id)

    def _look_at(self, api: docker.APIClient, workspace_id: str, container_id: str) -> None:
        seen = _inspect(api, container_id)
        present = self._seen.get(workspace_id)
        if seen is not None:
            self._seen[workspace_id] = seen
        elif present is not None and present.container.id == container_id:
            del self._seen[workspace_id]
        self.version += 1
        self._correct(workspace_id)

    def _correct(self, workspace_id: str) -> None:
        try:
            row = self._registry.find(id=workspace_id)
            if row is None:
                return
            status, error = observed_status(row, self.container(workspace_id))
            if status is not row.status:
                self._registry.update(workspace_id, status=status, error=error)
        except AtelierError:
            log.exception("the status of %s could not be written", workspace_id)


def _inspect(api: docker.APIClient, container_id: str) -> Seen | None:
    try:
        raw: dict[str, Any] = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return None
    return Seen(container_from(raw), raw["State"]["StartedAt"])
