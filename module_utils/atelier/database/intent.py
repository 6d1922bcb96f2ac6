"""The desired state of a workspace, separate from the observed one: whether it should run, and how often that changed.

``status`` follows Docker, which after a crash stops every container. ``wanted`` changes only by a decision: a start or
a stop by a module, a ``docker start`` or ``docker stop`` by hand while Docker runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..common.models import Status
from .workspace_store import WorkspaceStore


def stopped_on_purpose(store: WorkspaceStore, workspace_id: str) -> None:
    """Notes that the workspace is stopped and is to stay so, also when Docker restarts."""
    with store.transaction() as db:
        db.execute(
            "UPDATE workspaces SET status = ?, error = NULL, wanted = 'stopped', orders = orders + 1 WHERE id = ?",
            (Status.STOPPED, workspace_id),
        )


def to_stay_stopped(store: WorkspaceStore, workspace_id: str) -> None:
    """Notes that a workspace whose container is down already, for whatever reason, is to stay so. One that is being
    made, or whose status says otherwise, is left alone."""
    with store.transaction() as db:
        db.execute(
            "UPDATE workspaces SET wanted = 'stopped', orders = orders + 1"
            " WHERE id = ? AND status IN ('stopped', 'error') AND wanted <> 'stopped'",
            (workspace_id,),
        )


def wanted_up(store: WorkspaceStore) -> set[str]:
    """Ids of the workspaces that should run."""
    with store.reading() as db:
        return {row[0] for row in db.execute("SELECT id FROM workspaces WHERE wanted = 'running'")}


def counters(db: sqlite3.Connection, workspace_id: str) -> Sequence[int] | None:
    """How often the workspace was deliberately started or stopped, and how often its password changed."""
    row: Sequence[int] | None = db.execute(
        "SELECT orders, passwords FROM workspaces WHERE id = ?", (workspace_id,)
    ).fetchone()
    return row


@dataclass(frozen=True)
class Present:
    """A workspace's present intent."""

    wanted: str
    orders: int
    passwords: int
    password_hash: str | None = field(repr=False)


def present(store: WorkspaceStore, ids: Sequence[str]) -> dict[str, Present]:
    """Of those of the workspaces that exist, by id."""
    query = "SELECT wanted, orders, passwords, password_hash FROM workspaces WHERE id = ?"
    with store.reading() as db:
        rows = {id: db.execute(query, (id,)).fetchone() for id in ids}
    return {id: Present(*row) for id, row in rows.items() if row is not None}
