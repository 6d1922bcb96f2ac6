"""Copies the whitelists and the proxies' clients to the nodes: Squid's configuration, the groups' lists, and the
workspace of each address.

A node decides nothing. The files on the controller are authoritative for all machines, and its Squid has already
accepted the configuration; the node's Squid checks it, too, before it replaces the live file. It runs only while the
controller confirms every few seconds that the files are current (roles/squid, ``run-squid`` and ``confirm-lists``). The
files are read and copied while the node is locked, so an older list never replaces a newer one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..common.models import CONTROLLER, Site, Workspace
from ..database.workspace_store import WorkspaceStore
from ..egress.clients import client_map
from ..egress.squid_config import RECONFIGURE, Configuration, complaint, is_accepted, live_configuration, parse_command
from ..engine.client import Engine
from ..engine.models import File
from ..engine.several import ask_all
from .context import NodeContext
from .engines import Engines

# Maximum seconds that a machine that hangs can delay its callers.
PATIENCE_SECONDS = 10
_LOCK_SECONDS = 30.0
# Twenty seats that start at once ask once.
_FRESH_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# For a list of ten thousand domains.
_PARSE_SECONDS = 60.0
_POLL_SECONDS = 0.1
# The files in the container, in the order of writing: lists before clients, because an unknown client has no access.
_CONFIGURATION = PurePosixPath("/srv/squid/squid.conf")
_GROUPS = PurePosixPath("/srv/squid/groups.json")
_CLIENTS = PurePosixPath("/srv/egress/workspaces.json")
_LEASE = "/run/lists-confirmed"
_CONFIRM = "/usr/local/bin/confirm-lists"
_DIFFER = "differ "

# The content of each file.
Lists = Mapping[PurePosixPath, bytes]
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
        key, squid = (self.site.state_dir, node), self._squid(node, engine)
        with self.locks.node_lists(node, _LOCK_SECONDS):
            lists = self._current()
            known, confirmed_at = _confirmed.get(key, ({}, 0.0))
            if known == lists and time.monotonic() < confirmed_at + fresh:
                return False
            answer = squid.confirm(lists)
            changed = answer.startswith(_DIFFER)
            if changed:
                squid.write(lists, map(PurePosixPath, answer.split()[1:]))
                answer = squid.confirm(lists)
            deadline = time.monotonic() + self.wait
            while answer != "confirmed":
                if time.monotonic() > deadline:
                    raise squid.refused(Message("squid.node_slow", seconds=self.wait))
                if answer == "other":
                    with suppress(AtelierError):  # it is starting at this moment
                        squid.run(RECONFIGURE)
                time.sleep(_POLL_SECONDS)
                answer = squid.confirm(lists)
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

    def _squid(self, node: str, engine: Engine) -> _Squid:
        return _Squid(engine, f"{self.site.instance}-squid", node)

    def _current(self) -> Lists:
        groups = self.site.state_dir / "squid" / "groups.json"
        # A change of the whitelist that is under way is waited for: it may be taken back.
        with self.locks.whitelist(self.wait * 2):
            return {
                _CONFIGURATION: live_configuration(self.site.state_dir).text.encode(),
                _GROUPS: groups.read_bytes() if groups.exists() else b"{}",
                _CLIENTS: client_map(self.store),
            }


def ready_proxy(context: NodeContext, workspace: Workspace) -> None:
    """Ensures, before a workspace starts on a node, that its proxies have the current lists and know its address.
    Raises the same errors as ``NodeLists.bring``."""
    if context.node != CONTROLLER and workspace.proxy_mode.proxy:
        lists = NodeLists(context.site, context.store, context.locks, context.ready_timeout)
        lists.bring(context.node, context.engine, fresh=_FRESH_SECONDS)


@dataclass(frozen=True)
class _Squid:
    """A node's Squid. Everything raises SQUID_ERROR, and what the engine raises."""

    engine: Engine
    container: str
    node: str

    def confirm(self, lists: Lists) -> str:
        """Lets Squid continue if it uses these lists; returns the output of ``confirm-lists``."""
        configuration = Configuration(lists[_CONFIGURATION].decode())
        host, port = configuration.address or ("", 0)
        sums = [f"{path}={hashlib.sha256(data).hexdigest()}" for path, data in lists.items()]
        return self.run([_CONFIRM, _LEASE, host, str(port), configuration.digest or "", *sums]).strip()

    def write(self, lists: Lists, paths: Iterable[PurePosixPath]) -> None:
        """Replaces these files, if Squid accepts the configuration."""
        new = {path: path.with_name(f"{path.name}.new") for path in paths}
        for path, place in new.items():
            file = File(place, lists[path], 0, 0, 0o644, time.time())
            self.engine.put(self.container, str(path.parent), [file])
        if _CONFIGURATION in new:
            self.run(parse_command(new[_CONFIGURATION]), seconds=_PARSE_SECONDS)
        for path, place in new.items():
            # As root, who owns the files: Squid's user only writes its log.
            self.run(["/bin/mv", "-T", str(place), str(path)], user="root")

    def run(self, command: Sequence[str], *, seconds: float = _ANSWER_SECONDS, user: str = "") -> str:
        """The output of a program in its container."""
        try:
            code, output = self.engine.execute(self.container, command, seconds=seconds, user=user)
        except AtelierError as error:
            if "limit" not in error.details:
                raise
            # Leave out the engine's advice, which is for seats.
            raise self.refused(error.message) from error
        if not is_accepted(code, output):
            raise self.refused(complaint(output))
        return output

    def refused(self, said: str) -> AtelierError:
        message = Message("squid.node_refused", node=self.node, said=said)
        return AtelierError(Code.SQUID_ERROR, message, node=self.node)
