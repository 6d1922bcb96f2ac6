"""Port access: shared ports, and the passes that the gateway accepts from everybody else.

The gateway's map ``ports.map`` has two kinds of keys. ``<id>`` is ``open`` for a workspace without a password, or the
key that signs the passes for its ports. ``<id>-<port>`` is ``shared``, or ``guarded`` where an alias with a password
leads to the port. A pass is ``<end>.<HMAC-SHA256 of "<id>-<port>.<end>">``, which HAProxy checks without asking
anybody. The signing key comes from the password's hash and from what a release changes, so another password or
a release ends all passes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Iterable

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Workspace
from ..database.workspace_store import WorkspaceStore, now
from .aliases import Alias, all_aliases

OPEN, SHARED, GUARDED = "open", "shared", "guarded"
PASS_SECONDS = 12 * 3600


def port_routes(store: WorkspaceStore) -> dict[str, str]:
    """The gateway's map."""
    doors = {row.id: _key(row) or OPEN for row in store.all()}
    shares = {f"{id}-{port}": SHARED for id, port in _shares(store)}
    # An alias with a password also closes the port's own name.
    guarded = {f"{id}-{port}": GUARDED for id, port in _guards(store)}
    return doors | shares | guarded


def shared_ports(store: WorkspaceStore, workspace_id: str) -> set[int]:
    return {port for id, port in _shares(store) if id == workspace_id}


def guarded_ports(store: WorkspaceStore, workspace_id: str) -> set[int]:
    """The ports that an alias with a password leads to."""
    return {port for id, port in _guards(store) if id == workspace_id}


def share_port(store: WorkspaceStore, workspace_id: str, port: int) -> bool:
    """Opens the port to everybody who knows its address, other seats included. Returns whether it was not shared.

    Raises PORT_GUARDED where an alias asks for a password for the same port, PROJECT_NOT_FOUND for a missing workspace.
    """
    with store.transaction() as db:
        if guard := _guards(store).get((workspace_id, port)):
            told = Message("alias.guards", subdomain=guard.subdomain, port=port)
            raise AtelierError(Code.PORT_GUARDED, told, field="port", value=port)
        try:
            cursor = db.execute(
                "INSERT OR IGNORE INTO shared_ports (workspace_id, port, created_at) VALUES (?, ?, ?)",
                (workspace_id, port, now()),
            )
        except sqlite3.IntegrityError as error:
            gone = Message("no_such_workspace", value=workspace_id)
            raise AtelierError(Code.PROJECT_NOT_FOUND, gone, field="workspace_id", value=workspace_id) from error
        return cursor.rowcount == 1


def unshare_ports(store: WorkspaceStore, workspace_id: str, ports: Iterable[int] | None = None) -> bool:
    """Ends the sharing of these ports, or of all. Returns whether one was shared."""
    with store.transaction() as db:
        shared = shared_ports(store, workspace_id)
        ending = shared if ports is None else shared & set(ports)
        for port in ending:
            db.execute("DELETE FROM shared_ports WHERE workspace_id = ? AND port = ?", (workspace_id, port))
        return bool(ending)


def port_pass(row: Workspace, port: int) -> str | None:
    """A pass for the port, valid for PASS_SECONDS; None for a workspace without a password."""
    key = _key(row)
    if key is None:
        return None
    end = int(time.time()) + PASS_SECONDS
    signature = hmac.digest(base64.b64decode(key), f"{row.id}-{port}.{end}".encode(), "sha256").hex()
    return f"{end}.{signature}"


def _key(row: Workspace) -> str | None:
    """The key that signs the workspace's passes, in base64 as HAProxy takes it."""
    if row.password_hash is None:
        return None
    secret = f"port pass\0{row.id}\0{row.password_hash}\0{row.sessions}"
    return base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def _guards(store: WorkspaceStore) -> dict[tuple[str, int], Alias]:
    """The aliases with a password, by workspace and port."""
    found = (alias for aliases in all_aliases(store).values() for alias in aliases)
    return {(alias.workspace_id, alias.port): alias for alias in found if alias.user is not None}


def _shares(store: WorkspaceStore) -> list[tuple[str, int]]:
    return store.rows("SELECT workspace_id, port FROM shared_ports")
