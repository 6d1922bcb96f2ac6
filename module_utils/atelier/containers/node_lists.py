"""Copies the whitelists and the proxies' clients to the nodes.

The files on the controller are authoritative for all machines. They are read and copied while the node is locked, so an
older list never replaces a newer one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError
from ..common.locks import Locks
from ..common.models import CONTROLLER, Site, Workspace
from ..database.workspace_store import WorkspaceStore
from ..egress.clients import client_map
from ..egress.node_squid import Lists, NodeSquid
from ..engine.client import Engine
from ..engine.several import ask_all
from .context import NodeContext
from .engines import Engines

# Maximum seconds that a machine that hangs can delay its callers.
PATIENCE_SECONDS = 10
_LOCK_SECONDS = 30.0
# Twenty seats that start at once ask once.
_FRESH_SECONDS = 5.0
# The lists that this process confirmed last, with the time, by installation and node.
_confirmed: dict[tuple[Path, str], tuple[Lists, float]] = {}


def has_node_lists(site: Site) -> bool:
    """Whether there are lists to bring, and nodes to bring them to."""
    return bool(site.nodes) and any(mode.proxy for mode in site.networks)


@dataclass(frozen=True)
class NodeLists:
    """``wait`` is how many seconds a node's Squid may take to apply a configuration."""

    site: Site
    store: WorkspaceStore
    locks: Locks
    wait: float

    def bring(self, node: str, engine: Engine, *, fresh: float = 0) -> bool:
        """Brings the current lists to a node, and confirms that its Squid works with them; returns whether it lacked
        any. Does nothing if this process has confirmed these lists within the last ``fresh`` seconds. Raises
        SQUID_ERROR, EGRESS_ERROR when another run held the node for too long, and what the engine raises."""
        key = (self.site.state_dir, node)
        with self.locks.node_lists(node, _LOCK_SECONDS):
            lists = self._current()
            known, confirmed_at = _confirmed.get(key, (None, 0.0))
            if known == lists and time.monotonic() < confirmed_at + fresh:
                return False
            changed = self._squid(node, engine).bring(lists)
            _confirmed[key] = lists, time.monotonic()
            return changed

    def are_missing(self, node: str, engine: Engine) -> bool:
        """Whether the node lacks any of them. Raises as ``bring``."""
        return self._squid(node, engine).confirm(self._current()) not in ("confirmed", "starting")

    def bring_everywhere(self, engines: Engines) -> dict[str, AtelierError]:
        """Brings them to all nodes, side by side; returns why some nodes do not have them."""
        names = [node.name for node in self.site.nodes]
        _, failures = ask_all(names, lambda node: self.bring(node, engines.of(node)))
        return failures

    def _squid(self, node: str, engine: Engine) -> NodeSquid:
        return NodeSquid(engine, f"{self.site.instance}-squid", node, self.wait)

    def _current(self) -> Lists:
        # A change of the whitelist that is under way is waited for: it may be taken back.
        with self.locks.whitelist(self.wait * 2):
            return Lists.read(self.site.state_dir, client_map(self.store))


def ready_proxy(context: NodeContext, workspace: Workspace) -> None:
    """Ensures, before a workspace starts on a node, that its proxies have the current lists and know its address.
    Raises the same errors as ``NodeLists.bring``."""
    if context.node != CONTROLLER and workspace.proxy_mode.proxy:
        lists = NodeLists(context.site, context.store, context.locks, context.ready_timeout)
        lists.bring(context.node, context.engine, fresh=_FRESH_SECONDS)
