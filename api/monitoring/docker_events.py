"""Follows Docker's events, so that reads know every container's state without asking Docker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing

from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER, Site, Status, Workspace
from atelier.containers.container import observed_status, why_away
from atelier.containers.engines import open_engine
from atelier.containers.template_images import made_from
from atelier.database.workspace_store import WorkspaceStore, now
from atelier.engine.client import Engine
from atelier.engine.models import Container, Event

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_LABEL = "atelier.workspace"
_PATIENCE_SECONDS = 30
# Events of a container that say nothing of its state. A seat can cause any number of oom events: each is one program
# that the kernel ended. The end of the container has its own event.
_NO_CHANGE = ("exec_", "top", "archive-path", "extract-to-dir", "oom")


class Watcher:
    """Keeps ``seen`` current: the last known state of each workspace's container, by workspace id. One thread follows
    the events of each machine, so one that does not answer delays nobody.

    After an interruption (dockerd restarted) a thread reads all states again. ``version`` grows with each change.
    Changes made outside of Atelier are also written to the database, whose quotas count running workspaces.
    """

    def __init__(self, site: Site, store: WorkspaceStore, locks: Locks) -> None:
        self.site = site
        self.store = store
        self.locks = locks
        self.seen: dict[str, Container] = {}
        self._gone: set[str] = set()
        # Containers that a person asked Docker to end, with the time. ``Revival`` decides whether that was intended,
        # since a dockerd that shuts down ends all of them in the same way.
        self.asked_to_end: dict[str, float] = {}
        # Stops requested by a module. Docker completes them even if the module is killed.
        self._module_ends: set[str] = set()
        self._nodes = {node: _Follower(self, node) for node in site.node_names}
        self._down: set[str] = set()
        # The digest of the present image's inputs, by template.
        self._images: Mapping[str, str] = {}
        # A thread per machine updates the state.
        self._mutex = threading.Lock()
        self.version = 0

    def note_down(self, nodes: set[str]) -> None:
        """Takes in which machines Docker Swarm calls down. The events of one that hangs only end."""
        if nodes != self._down:
            log.warning("machines that are down: %s", ", ".join(sorted(nodes)) or "none")
            self._down = nodes
            self.version += 1

    def note_images(self, current: Mapping[str, str]) -> None:
        """Stores the digests of the inputs of the templates' present images."""
        if current != self._images:
            self._images = current
            self.version += 1

    def is_outdated(self, row: Workspace) -> bool:
        """Whether the workspace's template has a newer image than its container is made from, as far as is known."""
        container, current = self.seen.get(row.id), self._images.get(row.template)
        return container is not None and current is not None and made_from(container.labels) != current

    @property
    def available(self) -> bool:
        """Whether the controller's engine answers, without which nothing can be changed."""
        return self._nodes[CONTROLLER].available

    @property
    def outages(self) -> int:
        """The number of times that an engine stopped answering."""
        return sum(node.outages for node in self._nodes.values())

    @property
    def answering(self) -> list[str]:
        """The machines whose engines answer."""
        return [name for name in self._nodes if self.answers(name)]

    def answers(self, node: str) -> bool:
        """Whether the machine's engine answers; one that the inventory lost does not."""
        return node in self._nodes and self._nodes[node].available and node not in self._down

    def last_seen(self, node: str) -> str | None:
        """When the machine's engine last answered, in ISO 8601; None if it has not since the start."""
        if node not in self._nodes:
            return None
        return now() if self._nodes[node].available else self._nodes[node].last_seen

    def seen_at(self, node: str) -> dict[str, Container]:
        """Like ``seen``, for one machine."""
        return dict(self._nodes[node].seen) if node in self._nodes else {}  # a copy: the threads go on

    def is_gone(self, workspace_id: str) -> bool:
        """Whether its container is known not to be there; one that was never seen may be on its way."""
        return workspace_id in self._gone

    def status(self, row: Workspace) -> tuple[Status, str | None]:
        """The row's status, corrected by the observed container."""
        if row.node != CONTROLLER and not self.answers(row.node):
            return Status.ERROR, why_away(row)
        return status_seen(row, self.seen.get(row.id), self._gone)

    def start(self) -> None:
        for node in self._nodes.values():
            node.start()

    def stop(self) -> None:
        for node in self._nodes.values():
            node.stopped.set()

    def row(self, workspace_id: str) -> Workspace | None:
        """The row, to be read before Docker is asked: what a run writes meanwhile is newer than Docker's answer."""
        try:
            return self.store.find(id=workspace_id)
        except AtelierError as error:
            log.error("the status of %s could not be read: %s", workspace_id, error)
            return None

    def look_at_all(self, node: str, found: Mapping[str, Container], rows: Sequence[Workspace]) -> None:
        """Stores a machine's containers by workspace id. ``rows`` are the machine's from before Docker was asked,
        as for ``row``."""
        nodes = {row.id: row.node for row in self.store.all()}
        ids = [id for id, its_node in nodes.items() if its_node == node]
        with self._mutex:
            gone = {id for id in self._gone if nodes.get(id, node) != node}
            self._gone = gone | {id for id in ids if id not in found}
            # Keep the other machines' containers; a container without a row belongs to this one.
            others = {id: container for id, container in self.seen.items() if nodes.get(id, node) != node}
            here = {id: container for id, container in found.items() if nodes.get(id, node) == node}
            self._nodes[node].seen, self.seen = here, others | here
        for row in rows:
            if nodes.get(row.id) == node:
                self._correct(row)

    def look_at(
        self, node: str, workspace_id: str, container_id: str, seen: Container | None, row: Workspace | None
    ) -> None:
        """Takes in the state of one container; None for one that is gone. ``row`` as ``row`` returned it."""
        here = self._nodes[node].seen
        if len(self._nodes) > 1 and not self._is_at(workspace_id, node):
            here.pop(workspace_id, None)  # it was moved, and this is what it left
            return
        with self._mutex:
            present = self.seen.get(workspace_id)
            if seen is not None:
                self.seen[workspace_id] = here[workspace_id] = seen
                self._gone.discard(workspace_id)
            elif present is not None and present.id == container_id:
                del self.seen[workspace_id]
                here.pop(workspace_id, None)
                self._gone.add(workspace_id)
        self.version += 1
        if row is not None:
            self._correct(row)

    def _is_at(self, workspace_id: str, node: str) -> bool:
        """Whether the workspace is on the machine, or has no row."""
        row = self.store.find(id=workspace_id)
        return row is None or row.node == node

    def note_asked(self, workspace_id: str, action: str) -> None:
        """Notes that a container was asked to end, or was started."""
        if action in ("kill", "stop"):
            # The holder of the lock stops it as a step of its work, and may be killed before the next one.
            if not self.locks.workspace_free(workspace_id):
                self._module_ends.add(workspace_id)
            elif workspace_id not in self._module_ends:
                self.asked_to_end[workspace_id] = time.monotonic()
        elif action == "start":
            self.asked_to_end.pop(workspace_id, None)
        if action in ("start", "stop", "destroy"):
            self._module_ends.discard(workspace_id)

    def _correct(self, row: Workspace) -> None:
        try:
            status, error = status_seen(row, self.seen.get(row.id), self._gone)
            if status is not row.status:
                self.store.observe(row, status, error)
        except AtelierError as error:  # no traceback for each event of hours in which the disk is full
            log.error("the status of %s could not be written: %s", row.id, error)


class _Follower(threading.Thread):
    """Follows the events of one machine."""

    def __init__(self, watcher: Watcher, node: str) -> None:
        super().__init__(name=f"docker-watcher-{node}", daemon=True)
        self._watcher = watcher
        self._node = node
        self.stopped = threading.Event()  # not _stop, which is the thread's own
        self._label = f"atelier.instance={watcher.site.instance}"
        # The time of Docker's last event, in nanoseconds of its clock.
        self._last_event: int | None = None
        # The workspaces that events were about since the last interruption.
        self._workspaces: set[str] = set()
        # The containers of this machine's workspaces, by workspace id. Only its thread changes it.
        self.seen: dict[str, Container] = {}
        self.available = False
        self.last_seen: str | None = None
        self.outages = 0

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                with closing(open_engine(self._watcher.site, self._node, patience=_PATIENCE_SECONDS)) as engine:
                    self.follow(engine)
            except Exception as error:  # the boundary: a watcher that ended would leave every status as it was
                if self.stopped.is_set():
                    return
                if not isinstance(error, AtelierError):
                    log.exception("the watcher of %s begins again", self._node)
                elif self.available:
                    log.warning("no events from Docker on %s: %s", self._node, error)
                if self.available:
                    self.last_seen = now()
                self.outages += self.available
                self.available = False
                self._watcher.version += 1
                for workspace_id in self._workspaces:
                    self._watcher.asked_to_end.pop(workspace_id, None)
                self._workspaces.clear()
                self.stopped.wait(_RETRY_SECONDS)

    def follow(self, engine: Engine) -> None:
        """Takes in all states, then the events until they end. Raises SERVICE_UNAVAILABLE at their end."""
        # The stream is opened before the look, so that nothing falls between the two.
        events = engine.events(self._label)
        self._look_at_all(engine)
        self._catch_up(engine)
        self.available = True
        self._watcher.version += 1
        # The stream may be silent for hours, so it has no timeout.
        for event in events:
            if self.stopped.is_set():
                return
            self._last_event = event.at
            if workspace_id := self._note(event):
                row = self._watcher.row(workspace_id)
                seen = engine.inspect(event.container)
                self._watcher.look_at(self._node, workspace_id, event.container, seen, row)
        raise AtelierError(Code.SERVICE_UNAVAILABLE, Message("docker.events_ended"))

    def _note(self, event: Event) -> str | None:
        """Notes what was asked of a workspace's container. Returns the workspace's id; None if the event tells nothing
        of its state, or is about a container that only inherited a workspace's labels from its image."""
        id = event.labels.get(_LABEL)
        if not id or event.action.startswith(_NO_CHANGE) or event.name != self._watcher.site.container_name(id):
            return None
        self._workspaces.add(id)
        self._watcher.note_asked(id, event.action)
        return id

    def _catch_up(self, engine: Engine) -> None:
        """Reads the stops requested while Docker was disconnected. Only a dockerd that survived knows them: a new one
        has stopped the containers itself, and does not know the last seen event."""
        last = self._last_event
        past = engine.past_events(self._label, last or 0)
        if any(event.at == last for event in past):
            for event in past:
                self._note(event)
        if past:
            self._last_event = past[-1].at

    def _look_at_all(self, engine: Engine) -> None:
        name_of, rows = self._watcher.site.container_name, self._watcher.store.all(self._node)
        found = {
            id: container
            for name, id in engine.container_names(self._label).items()
            if id and name == name_of(id) and (container := engine.inspect(name))
        }
        self._watcher.look_at_all(self._node, found, rows)


def status_seen(row: Workspace, container: Container | None, gone: Collection[str]) -> tuple[Status, str | None]:
    """Like ``observed_status``, from the events so far. Events arrive a moment later: for a container that was not seen
    yet, or was just created, the row is newer."""
    is_news = row.id not in gone if container is None else container.status == "created"
    return (Status.RUNNING, None) if row.status is Status.RUNNING and is_news else observed_status(row, container)
