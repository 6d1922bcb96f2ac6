"""The database's rows: workspaces and clone orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..common.messages import restored
from ..common.models import Limits, ProxyMode, Status, Workspace

# In the order of Workspace's fields; memory and cpus make its limits.
COLUMNS = ", ".join([*("group_name" if name == "group" else name for name in Workspace._fields[:-1]), "memory", "cpus"])
# Columns that may change after a row is created, by the name of the Workspace's field.
MUTABLE = {
    *("name", "status", "error", "group_name", "memory", "cpus", "notes", "password_hash", "last_activity"),
    *("repository", "branch", "git_pending", "git_problem", "sessions", "node", "unreleased"),
}
# What a clone has of its source.
_INHERITED = ("template", "node_labels", "group", "git_url", "repository", "proxy_mode", "limits")
_STATUSES = {str(status): status for status in Status}
_PROXY_MODES = {str(mode): mode for mode in ProxyMode}
_limits = lru_cache(Limits)


@dataclass(frozen=True)
class Batch:
    """A clone order, kept until its result was returned, so that a killed run can be completed."""

    id: str
    source_id: str
    count: int


def clone_order(
    source: Workspace, name: str, password_hash: str | None, *, id: str, owner: str, batch: str | None
) -> Workspace:
    """The order for a clone. It inherits no password or notes."""
    inherited = {field: getattr(source, field) for field in _INHERITED}
    return Workspace(
        id=id, name=name, owner=owner, password_hash=password_hash, cloned_from=source.id, batch=batch, **inherited
    )


def workspace_from(row: Sequence[Any]) -> Workspace:
    """A row in the order of COLUMNS."""
    # By position for speed: a list creates thousands of these.
    unreleased, git_problem, error, status, mode, memory, cpus = row[-7:]
    texts = [text and restored(text) for text in (unreleased, git_problem, error)]
    return Workspace._make((*row[:-7], *texts, _STATUSES[status], _PROXY_MODES[mode], _limits(memory, cpus)))
