"""Decides when a workspace is stopped automatically: it was idle for too long, or its workshop is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..common.models import StopReason
from ..database.workspace_store import WorkspaceStore

# An unused IDE takes a hundredth of a core.
BUSY_CORES = 0.05


@dataclass(frozen=True)
class UsageSample:
    """Usage of a running workspace. ``last_use`` is the newest of its IDE's heartbeat and of the times at which it was
    connected or busy; None if there was none since its start."""

    started_at: datetime
    last_use: datetime | None
    connections: int
    cpu_cores: float
    extended_until: datetime | None

    @property
    def in_use(self) -> bool:
        return self.connections > 0 or self.cpu_cores >= BUSY_CORES


def is_due(
    signs: UsageSample, moment: datetime, *, idle: timedelta | None, end: datetime | None, watched_since: datetime
) -> StopReason | None:
    """Returns the reason to stop the workspace now, or None.

    ``idle``: maximum time without use; ``end``: the end of its workshop; None disables either. ``watched_since``: use
    before this time is unknown, so idleness is counted from it at the earliest. A workspace that was started after
    ``end`` is not stopped for it.
    """
    if signs.extended_until is not None and moment < signs.extended_until:
        return None
    if end is not None and signs.started_at < end <= moment:
        return StopReason.END
    if idle is None or signs.in_use:
        return None
    last = max(filter(None, (signs.started_at, signs.last_use, signs.extended_until, watched_since)))
    return StopReason.IDLE if moment - last >= idle else None


def extend(store: WorkspaceStore, workspace_id: str, minutes: int) -> datetime:
    """Keeps a workspace from being stopped for at least so many minutes from now; returns until when."""
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    with store.transaction() as db:
        (kept,) = db.execute(
            "INSERT INTO extensions (workspace_id, until) VALUES (?, ?)"
            " ON CONFLICT (workspace_id) DO UPDATE SET until = max(until, excluded.until) RETURNING until",
            (workspace_id, until.isoformat(timespec="milliseconds")),
        ).fetchone()
    return datetime.fromisoformat(kept)


def extensions(store: WorkspaceStore) -> dict[str, datetime]:
    """The times until which extended workspaces are not stopped, by id."""
    rows = store.rows("SELECT workspace_id, until FROM extensions")
    return {id: datetime.fromisoformat(until) for id, until in rows}
