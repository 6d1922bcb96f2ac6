"""An opened installation: everything that an operation needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.models import CONTROLLER, Site, Workspace
from ..database.lasting_errors import is_removed
from ..database.workspace_store import WorkspaceStore
from ..egress.clients import write_client_map
from ..engine.client import Engine
from ..engine.several import ask_all
from ..gateway.aliases import alias_routes
from ..gateway.haproxy import Gateway
from ..gateway.port_access import port_routes
from .container_names import with_names
from .engines import Engines
from .seat_http import SeatRoute

# Called with a step, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """An installation with all its machines. ``ready_timeout``: seconds an IDE may take until it answers HTTP."""

    site: Site
    store: WorkspaceStore
    engines: Engines
    locks: Locks
    progress: Progress
    ready_timeout: float

    @property
    def lock_wait(self) -> float:
        """Seconds to wait for a locked workspace: longer than any operation may take."""
        return self.ready_timeout + 60

    def at(self, workspace: Workspace) -> NodeContext:
        """The context of the workspace's machine. The database is read again, because a row from before the lock was
        taken may name the machine before a move. Raises NODE_UNAVAILABLE if the machine does not answer."""
        present = self.store.find(id=workspace.id) if self.site.nodes else None
        return self.on((present or workspace).node)

    def left_of(self, workspace: Workspace) -> NodeContext:
        """Like ``at``, but for a workspace whose machine was removed, and has not joined again, it returns the
        controller's context. There the workspace looks like one whose container is gone."""
        try:
            return self.at(workspace)
        except AtelierError as error:
            if error.code is not Code.NODE_UNAVAILABLE or not is_removed(workspace):
                raise
            return self.on()

    def on(self, node: str = CONTROLLER) -> NodeContext:
        """Raises NODE_UNAVAILABLE, as ``at``."""
        at_node = {"node": node, "engine": self.engines.of(node), "route": self.engines.route(node)}
        return NodeContext(**vars(self) | at_node)

    def everywhere(self) -> list[NodeContext]:
        """The installation on each of its machines that answers, the controller first."""
        controller = self.on()  # not later: its answer tells which of the others are down
        opened, _ = ask_all([node.name for node in self.site.nodes], self.on)
        return [controller, *opened.values()]

    def at_each(self, work: Callable[[NodeContext], T]) -> list[T]:
        """Runs ``work`` for all machines in parallel; returns the results of those that answered throughout, the
        controller's first."""
        contexts = {here.node: here for here in self.everywhere()}
        found, failures = ask_all(list(contexts), lambda node: work(contexts[node]))
        for error in failures.values():
            if error.code is not Code.NODE_UNAVAILABLE:
                raise error
        return list(found.values())

    def cpus(self) -> int:
        """Number of cores of all machines that answer, at least 1, as a measure for parallel work."""
        engines = {here.node: here.engine for here in self.everywhere()}
        found, _ = ask_all(list(engines), lambda node: engines[node].cpus())
        return max(sum(found.values()), 1)

    def route_maps(self, *names: str) -> list[tuple[Gateway, Callable[[], Mapping[str, str]]]]:
        """All maps of the gateway that are in use, or those named, with what reads the routes that each should have."""
        used = names or [name for name in _MAPS if self.site.nodes or name != "nodes.map"]
        return [(Gateway(self.site.state_dir, self.locks, name), partial(_MAPS[name], self.store)) for name in used]

    def sync_routes(self) -> None:
        """Writes routes for all workspaces, running or stopped (addresses are permanent), and updates the proxies'
        client map."""
        self._sync()
        write_client_map(self.site, self.store, self.locks)

    def sync_aliases(self) -> None:
        """Writes the gateway's maps of aliases, port passwords and shared ports."""
        self._sync("aliases.map", "ports.map")

    def sync_ports(self) -> None:
        """Writes the gateway's map of port passwords and shared ports."""
        self._sync("ports.map")

    def _sync(self, *names: str) -> None:
        for gateway, wanted in self.route_maps(*names):
            gateway.sync(wanted)


# The gateway's maps by file. That of nodes has the machine of each workspace that is not on the controller.
_MAPS: Mapping[str, Callable[[WorkspaceStore], Mapping[str, str]]] = {
    "routes.map": lambda store: {row.id: row.address for row in store.all()},
    "nodes.map": lambda store: {row.id: row.node for row in store.all() if row.node != CONTROLLER},
    "aliases.map": alias_routes,
    "ports.map": port_routes,
}


@dataclass(frozen=True)
class NodeContext(Context):
    """An installation on one of its machines, with this machine's engine."""

    node: str
    engine: Engine
    route: SeatRoute


@contextmanager
def open_context(
    site: Site, *, ready_timeout: float, progress: Progress, check_mode: bool = False
) -> Iterator[Context]:
    """Opens the engine and the database. Raises SERVICE_UNAVAILABLE or REGISTRY_ERROR before anything is changed."""
    engines = Engines(site)
    engine = engines.of(CONTROLLER)
    with WorkspaceStore(site.state_dir, site.networks, site.quotas, create=not check_mode) as store:
        locks = Locks(site.state_dir)
        if not check_mode:
            site = with_names(site, engine, locks, ready_timeout + 60)
        yield Context(
            site=site,
            store=store,
            engines=engines,
            locks=locks,
            progress=progress,
            ready_timeout=ready_timeout,
        )
