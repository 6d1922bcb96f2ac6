"""The desired state of a workspace, separate from the observed one: whether it should run, and how often that changed.

``status`` follows Docker, which after a crash stops every container. ``wanted`` changes only by a decision: a start or
a stop by a module, a ``docker start`` or ``docker stop`` by hand while Docker runs.

``stop_reason`` says why a workspace was stopped. A start clears it before the container is started, so a workspace that
wakes up loses its reason some seconds before its IDE answers. A workspace sleeps if it was stopped for one of the
reasons that a visit may undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..common.models import StopReason
from .workspace_store import WorkspaceStore


def stopped_on_purpose(store: WorkspaceStore, workspace_id: str, reason: StopReason | None = None) -> None:
    """Notes that the workspace is stopped and is to stay so, also when Docker restarts. Without a reason it keeps the
    one that it has."""
    store.write(
        "UPDATE workspaces SET status = 'stopped', error = NULL, wanted = 'stopped', orders = orders + 1,"
        " stop_reason = coalesce(?, stop_reason, ?) WHERE id = ?",
        *(reason, StopReason.PERSON, workspace_id),
    )


def to_stay_stopped(store: WorkspaceStore, workspace_id: str, reason: StopReason = StopReason.PERSON) -> None:
    """Records that a workspace whose container is already down is to stay down. Has no effect on one that is being
    created, or whose status contradicts. ``idle`` does not replace another reason of a stop."""
    store.write(
        "UPDATE workspaces SET wanted = 'stopped', orders = orders + 1, stop_reason = ?2"
        " WHERE id = ?1 AND status IN ('stopped', 'error')"
        " AND (wanted <> 'stopped' OR (?2 <> 'idle' AND stop_reason IS NOT ?2))",
        *(workspace_id, reason),
    )


def sleepers(store: WorkspaceStore, reasons: Sequence[str]) -> list[str]:
    """Ids of the workspaces that were stopped for one of the reasons and are not being started."""
    rows = store.rows("SELECT id, stop_reason FROM workspaces WHERE stop_reason IS NOT NULL")
    return [id for id, reason in rows if reason in reasons]


def wake(store: WorkspaceStore, ids: Sequence[str], reasons: Sequence[str]) -> list[str]:
    """Notes that those of the workspaces that sleep are to run; returns their ids."""
    with store.transaction() as db:
        woken = [id for id in sleepers(store, reasons) if id in ids]
        db.executemany(
            "UPDATE workspaces SET wanted = 'running', orders = orders + 1 WHERE id = ? AND wanted = 'stopped'",
            [(id,) for id in woken],
        )
    return woken


def back_to_sleep(store: WorkspaceStore, ids: Sequence[str]) -> None:
    """Records that those of the workspaces that were not started remain asleep."""
    with store.transaction() as db:
        db.executemany(
            "UPDATE workspaces SET wanted = 'stopped', orders = orders + 1"
            " WHERE id = ? AND wanted = 'running' AND stop_reason IS NOT NULL AND status IN ('stopped', 'error')",
            [(id,) for id in ids],
        )


def wanted_up(store: WorkspaceStore) -> set[str]:
    """Ids of the workspaces that should run."""
    return {row[0] for row in store.rows("SELECT id FROM workspaces WHERE wanted = 'running'")}


def counters(store: WorkspaceStore, ids: Sequence[str]) -> dict[str, Sequence[int]]:
    """The numbers of deliberate starts and stops, and of changes of the password, of the workspaces that exist."""
    query = "SELECT orders, passwords FROM workspaces WHERE id = ?"
    return {id: counted for id in ids for counted in store.rows(query, id)}


def has_other_password(store: WorkspaceStore, id: str) -> bool:
    """Whether the workspace was given another password than the one that it was made with."""
    return bool(store.rows("SELECT 1 FROM workspaces WHERE id = ? AND passwords > 0", id))


@dataclass(frozen=True)
class Present:
    """A workspace's present intent."""

    wanted: str
    orders: int
    passwords: int
    password_hash: str | None = field(repr=False)


def present(store: WorkspaceStore, ids: Sequence[str]) -> dict[str, Present]:
    """The present state of the workspaces that exist, by id."""
    query = "SELECT wanted, orders, passwords, password_hash FROM workspaces WHERE id = ?"
    return {id: Present(*row) for id in ids for row in store.rows(query, id)}
