"""Follows Docker's events, so that reads know every container's state without asking Docker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import docker
import requests
import urllib3
from atelier.docker_answers import container_from
from atelier.engine import Container
from atelier.errors import AtelierError
from atelier.locks import Locks
from atelier.model import Site, Status, Workspace
from atelier.registry import Registry
from atelier.seats import observed_status

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_LABEL = "atelier.workspace"
# What is raised when Docker goes away, by how far it had come.
_GONE = (
    docker.errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
# An end of the past events that lies in the past, so that Docker does not wait for it.
_NOW_SECONDS = 0.001
# Events of a container that say nothing of its state. A seat can cause any number of oom events: each is one program
# that the kernel ended. The end of the container has its own event.
_NO_CHANGE = ("exec_", "top", "archive-path", "extract-to-dir", "oom")


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
        self._stopped = threading.Event()  # not _stop, which is the thread's own
        self._seen: dict[str, Seen] = {}
        self._gone: set[str] = set()
        self._filters = {"label": [f"atelier.instance={site.instance}"]}
        self._locks = Locks(site.state_dir)
        # Containers that a person asked Docker to end, and when that was seen: whether it was meant so is decided by
        # ``Revival``, since a dockerd that goes down asks the same of all of them.
        self.asked_to_end: dict[str, float] = {}
        # Those that a module asked Docker to end. Docker goes on with it when the module is killed.
        self._module_ends: set[str] = set()
        # When Docker's last event happened, in nanoseconds of its clock.
        self._last_event: int | None = None
        self.version = 0
        self.available = False
        self.outages = 0

    @property
    def seen(self) -> Mapping[str, Seen]:
        return self._seen

    def container(self, workspace_id: str) -> Container | None:
        seen = self._seen.get(workspace_id)
        return seen.container if seen else None

    def is_gone(self, workspace_id: str) -> bool:
        """Whether its container is known not to be there; one that was never seen may be on its way."""
        return workspace_id in self._gone

    def status(self, row: Workspace) -> tuple[Status, str | None]:
        """What becomes of a row's status by what was seen of its container."""
        return status_seen(row, self.container(row.id), self._gone)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except Exception as error:  # the boundary: a watcher that ended would leave every status as it was
                if self._stopped.is_set():
                    return
                if not isinstance(error, _GONE):
                    log.exception("the watcher begins anew")
                elif self.available:
                    log.warning("Docker does not answer: %s", error)
                self.outages += self.available
                self.available = False
                self.version += 1
                self.asked_to_end.clear()
                self._stopped.wait(_RETRY_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    def _follow(self) -> None:
        with closing(docker.APIClient(base_url=self._site.engine_url, version="auto", timeout=30)) as api:
            self._follow_with(api)

    def _follow_with(self, api: docker.APIClient) -> None:
        # The stream is opened before the look, so that nothing falls between the two.
        events = api.events(filters={**self._filters, "type": "container"}, decode=True)
        self._look_at_all(api)
        self._catch_up(api)
        self.available = True
        self.version += 1
        # The stream may be silent for hours; a time limit of its own would end it.
        for event in events:
            if self._stopped.is_set():
                return
            workspace_id = event.get("Actor", {}).get("Attributes", {}).get(_LABEL)
            named = event.get("Actor", {}).get("Attributes", {}).get("name")
            if workspace_id and named != self._site.container_name(workspace_id):
                continue  # somebody made it from a seat's image, which bears the seat's labels
            self._last_event = event.get("timeNano")
            if workspace_id and not str(event.get("Action", "")).startswith(_NO_CHANGE):
                self._note_asked(workspace_id, str(event["Action"]))
                self._look_at(api, workspace_id, event["Actor"]["ID"])
        raise OSError("the event stream ended")

    def _note_asked(self, workspace_id: str, action: str) -> None:
        if action in ("kill", "stop"):
            # Whoever holds the workspace stops it as a step of its work, and may be killed before the next one.
            if not self._locks.workspace_free(workspace_id):
                self._module_ends.add(workspace_id)
            elif workspace_id not in self._module_ends:
                self.asked_to_end[workspace_id] = time.monotonic()
        elif action == "start":
            self.asked_to_end.pop(workspace_id, None)
        if action in ("start", "stop", "destroy"):
            self._module_ends.discard(workspace_id)

    def _catch_up(self, api: docker.APIClient) -> None:
        """Learns what was asked of Docker while it was out of sight. Only a dockerd that lived on can tell: one that is
        new has stopped by itself what it found alive, and does not know the last event that was seen."""
        last = self._last_event
        # The SDK's annotations know whole seconds only; Docker takes fractions.
        since: Any = f"{last // 10**9}.{last % 10**9:09}" if last else "0"
        until: Any = f"{time.time() - _NOW_SECONDS:.9f}"
        past = list(api.events(since=since, until=until, filters={**self._filters, "type": "container"}, decode=True))
        if last is not None and any(event.get("timeNano") == last for event in past):
            for event in past:
                attributes = event.get("Actor", {}).get("Attributes", {})
                workspace_id = attributes.get(_LABEL)
                if workspace_id and attributes.get("name") == self._site.container_name(workspace_id):
                    self._note_asked(workspace_id, str(event["Action"]))
        if past:
            self._last_event = past[-1].get("timeNano")

    def _look_at_all(self, api: docker.APIClient) -> None:
        found: dict[str, Seen] = {}
        for entry in api.containers(all=True, filters=self._filters):
            workspace_id = entry["Labels"].get(_LABEL)
            if workspace_id and f"/{self._site.container_name(workspace_id)}" in entry["Names"]:
                seen = _inspect(api, entry["Id"])
                if seen is not None:
                    found[workspace_id] = seen
        rows = self._registry.all()
        self._gone = {row.id for row in rows if row.id not in found}
        self._seen = found
        for row in rows:
            self._correct(row.id)

    def _look_at(self, api: docker.APIClient, workspace_id: str, container_id: str) -> None:
        seen = _inspect(api, container_id)
        present = self._seen.get(workspace_id)
        if seen is not None:
            self._seen[workspace_id] = seen
            self._gone.discard(workspace_id)
        elif present is not None and present.container.id == container_id:
            del self._seen[workspace_id]
            self._gone.add(workspace_id)
        self.version += 1
        self._correct(workspace_id)

    def _correct(self, workspace_id: str) -> None:
        try:
            row = self._registry.find(id=workspace_id)
            if row is None:
                return
            status, error = self.status(row)
            if status is not row.status:
                self._registry.observe(row, status, error)
        except AtelierError as error:  # no traceback for each event of hours in which the disk is full
            log.error("the status of %s could not be written: %s", workspace_id, error)


def status_seen(row: Workspace, container: Container | None, gone: Collection[str]) -> tuple[Status, str | None]:
    """As ``observed_status``, by what events told so far. They come a moment after what they tell of: where a container
    was not seen yet, or was only just made, whoever wrote into the row that it runs knows more."""
    is_news = row.id not in gone if container is None else container.status == "created"
    return (Status.RUNNING, None) if row.status is Status.RUNNING and is_news else observed_status(row, container)


def _inspect(api: docker.APIClient, container_id: str) -> Seen | None:
    try:
        raw: dict[str, Any] = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return None
    return Seen(container_from(raw), raw["State"]["StartedAt"])
