"""Which address is whose, for the proxies: they see a client's address, and keep their logs and lists by workspace."""

from __future__ import annotations

import json
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..common.models import Site
from ..database.workspace_store import Registry


def clients_file(state_dir: Path) -> Path:
    return state_dir / "egress" / "workspaces.json"


def tell_proxies(site: Site, registry: Registry, locks: Locks) -> None:
    """Writes who is behind each address, for the workspaces that have a proxy: ``{address: {"id", "group"}}``.

    The proxies read it again when it changes. Nothing is written where no mode has a proxy, and nothing when the file
    says so already. Raises EGRESS_ERROR when it can't be written.
    """
    if not any(mode.proxy for mode in site.networks):
        return
    file = clients_file(site.state_dir)
    with locks.egress():
        # Read while it is held: of two at once, the later one knows of the earlier one's workspaces.
        clients = {
            workspace.address: {"id": workspace.id, "group": workspace.group}
            for workspace in registry.all()
            if workspace.proxy_mode.proxy
        }
        data = json.dumps(clients).encode()
        try:
            if file.exists() and file.read_bytes() == data:
                return
            file.parent.mkdir(mode=0o755, exist_ok=True)
            # The proxies run as users of their own.
            write_atomically(file, data, mode=0o644)
        except OSError as error:
            raise AtelierError(
                Code.EGRESS_ERROR, Message("file_not_written", file=file, why=error), field="site.state_dir"
            ) from error
