"""Whitelists of groups: additional domains for the workspaces of a group.

They are stored in ``squid/groups.json``. Squid's helper (roles/squid, ``group-whitelist``) rereads the file when it
changes, and ``egress/workspaces.json`` with the group of each address. So no change of a group, workspace or list
requires a reconfiguration of Squid.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..common.atomic_files import usable, write_atomically
from ..common.errors import Code
from ..common.locks import Locks
from .squid import WhitelistChange
from .squid_config import no_files
from .whitelist import WhitelistMode, plan_whitelist


class GroupWhitelists:
    """``wait``: seconds to wait for another run that changes a whitelist."""

    def __init__(self, state_dir: Path, wait: float) -> None:
        self._path = state_dir / "squid" / "groups.json"
        self._locks = Locks(state_dir)
        self._wait = wait

    def all(self) -> dict[str, tuple[str, ...]]:
        """The entries of each group that has any. Raises SQUID_ERROR for an invalid file."""
        with usable(self._path, Code.SQUID_ERROR):
            found = json.loads(self._path.read_text()) if self._path.exists() else {}
        return {group: tuple(entries) for group, entries in found.items()}

    def change(self, group: str, named: tuple[str, ...], state: WhitelistMode, *, check_mode: bool) -> WhitelistChange:
        """Like Squid.change, for a group's list. Takes effect within seconds, whether Squid runs or not; ``raw`` has
        one entry per line."""
        if not self._path.parent.is_dir():
            raise no_files(self._path.parent)
        with self._locks.whitelist(self._wait * 2):
            groups = self.all()
            before = groups.get(group, ())
            after = plan_whitelist(before, named, state)
            if after != before and not check_mode:
                lists = {name: entries for name, entries in sorted({**groups, group: after}.items()) if entries}
                with usable(self._path, Code.SQUID_ERROR):
                    write_atomically(self._path, json.dumps(lists, indent=1).encode(), mode=0o644)
        return WhitelistChange(after != before, before, after, "".join(f"{entry}\n" for entry in after))
