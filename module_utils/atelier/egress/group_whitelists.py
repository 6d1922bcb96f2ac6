"""Whitelists of groups: additional domains for the workspaces of a group.

They are stored in ``squid/groups.json``. Squid's helper (roles/squid, ``group-whitelist``) rereads the file when it
changes, and ``egress/workspaces.json`` with the group of each address. So no change of a group, workspace or list
requires a reconfiguration of Squid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..common.atomic_files import write_atomically
from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from .squid import WhitelistChange
from .whitelist import WhitelistMode, plan_whitelist


class GroupWhitelists:
    """``wait``: seconds to wait for another run that changes a whitelist."""

    def __init__(self, state_dir: Path, wait: float) -> None:
        self._path = state_dir / "squid" / "groups.json"
        self._locks = Locks(state_dir)
        self._wait = wait

    def all(self) -> dict[str, tuple[str, ...]]:
        """The entries of each group that has any. Raises SQUID_ERROR for an invalid file."""
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unusable(str(error)) from error
        return {group: tuple(entries) for group, entries in found.items()}

    def change(self, group: str, named: tuple[str, ...], state: WhitelistMode, *, check_mode: bool) -> WhitelistChange:
        """Like Squid.change, for a group's list. Takes effect within seconds, whether Squid runs or not; ``raw`` has
        one entry per line."""
        if not self._path.parent.is_dir():
            missing = Message("squid.no_folder", folder=self._path.parent)
            raise AtelierError(Code.SERVICE_UNAVAILABLE, missing, field="site.state_dir")
        with self._locks.whitelist(self._wait * 2):
            groups = self.all()
            before = groups.get(group, ())
            after = plan_whitelist(before, named, state)
            if after != before and not check_mode:
                self._write({**groups, group: after})
        return WhitelistChange(after != before, before, after, "".join(f"{entry}\n" for entry in after))

    def _write(self, groups: Mapping[str, tuple[str, ...]]) -> None:
        text = json.dumps({group: entries for group, entries in sorted(groups.items()) if entries}, indent=1)
        try:
            write_atomically(self._path, text.encode(), mode=0o644)
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from error

    def _unusable(self, reason: str) -> AtelierError:
        why = Message("squid.group_lists_unusable", folder=self._path, reason=reason)
        return AtelierError(Code.SQUID_ERROR, why, field="site.state_dir")
