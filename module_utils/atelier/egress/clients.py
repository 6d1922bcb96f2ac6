"""The workspace of each address, for the proxies, which see addresses but need workspaces for logs and lists."""

from __future__ import annotations

import json
from pathlib import Path

from ..common.atomic_files import usable, write_atomically
from ..common.errors import Code
from ..common.locks import Locks
from ..common.models import ProxyMode, Site
from ..database.workspace_store import WorkspaceStore


def clients_file(state_dir: Path) -> Path:
    return state_dir / "egress" / "workspaces.json"


def client_map(store: WorkspaceStore) -> bytes:
    """The file's content as the database has it now."""
    # Not whole rows: the API asks for this every few seconds for each node.
    rows = store.rows("SELECT address, id, group_name, proxy_mode FROM workspaces ORDER BY sequence")
    clients = {address: {"id": id, "group": group} for address, id, group, mode in rows if ProxyMode(mode).proxy}
    return json.dumps(clients).encode()


def write_client_map(site: Site, store: WorkspaceStore, locks: Locks) -> None:
    """Writes the workspace of each address that has a proxy: ``{address: {"id", "group"}}``.

    The proxies reread the file when it changes. It is not written if no mode has a proxy, or if it is unchanged. Raises
    EGRESS_ERROR if it cannot be written.
    """
    if not any(mode.proxy for mode in site.networks):
        return
    file = clients_file(site.state_dir)
    with locks.egress():
        # Read while locked, so that concurrent runs see each other's workspaces.
        data = client_map(store)
        with usable(file, Code.EGRESS_ERROR):
            if file.exists() and file.read_bytes() == data:
                return
            file.parent.mkdir(mode=0o755, exist_ok=True)
            # Each proxy runs as its own user.
            write_atomically(file, data, mode=0o644)
