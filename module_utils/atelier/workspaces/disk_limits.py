"""Limits of a workspace's disk use and their consequences. Files are never deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ..common.messages import Message
from ..common.models import GIB, MIB
from ..database.workspace_store import WorkspaceStore

WARN_SHARE = 0.8
# Time for deleting files after the restart of a workspace that was stopped for its disk usage.
GRACE = timedelta(minutes=10)
# Extra disk space during that time, as a share of the limit.
_GRACE_SHARE = 0.05
# Growth between two looks, as a share of the limit, that does not leave the time to stop processes gently.
_FAST_SHARE = 0.1
# While the disk is nearly full, a workspace that adds more than this is stopped.
NEED_BYTES = 64 * MIB
_NEED_WALK_SECONDS = 2.0
# Maximum time to measure a workspace; beyond that its size is unknown.
LONGEST_WALK_SECONDS = 30


class Action(StrEnum):
    """``leave`` keeps the notice, ``clear`` removes it; ``kill`` is a stop that does not wait for processes."""

    CLEAR = "clear"
    LEAVE = "leave"
    WARN = "warn"
    STOP = "stop"
    KILL = "kill"


class Reason(StrEnum):
    WARNED = "warned"
    LIMIT = "limit"
    DISK = "disk"


@dataclass(frozen=True)
class Notice:
    """The notice about a workspace's disk; ``used`` and ``limit`` in bytes at that time."""

    reason: Reason
    used: int
    limit: int
    at: datetime

    @property
    def is_stop(self) -> bool:
        return self.reason is not Reason.WARNED

    def sentence(self, *, running: bool) -> str | None:
        """The text for participants and operators; None where nothing is to be said any more."""
        used, limit = readable(self.used), readable(self.limit)
        if self.reason is Reason.DISK:
            return None if running else Message("disk_filled")
        if running:
            return Message("disk_running", used=used, limit=limit)
        if self.reason is Reason.WARNED:
            return None
        return Message("disk_stopped", used=used, limit=limit, minutes=int(GRACE.total_seconds()) // 60)


@dataclass(frozen=True)
class Measured:
    """A running workspace. In bytes: ``used`` by its files, ``grown`` since the last look, ``grown_in_need`` since the
    disk last had enough space, ``hidden`` written meanwhile or about to be, whether or not a file shows it."""

    used: int
    started_at: datetime
    notice: Notice | None = None
    grown: int = 0
    grown_in_need: int = 0
    hidden: int = 0
    walk_seconds: float = 0.0


def action(seat: Measured, limit: int, moment: datetime) -> Action:
    """The action that the seat's own limit requires; 0 means no limit."""
    if not limit or seat.used < limit * WARN_SHARE:
        stopping = seat.notice is not None and seat.notice.is_stop and seat.notice.at >= seat.started_at
        return Action.LEAVE if stopping else Action.CLEAR
    if seat.used < limit:
        return Action.WARN
    if _in_grace(seat, limit, moment):
        return Action.LEAVE
    return Action.KILL if seat.grown >= limit * _FAST_SHARE else Action.STOP


def _in_grace(seat: Measured, limit: int, moment: datetime) -> bool:
    notice = seat.notice
    if notice is None or not notice.is_stop or seat.started_at <= notice.at:
        return False
    most = max(notice.used, limit) + limit * _GRACE_SHARE
    return moment < seat.started_at + GRACE and seat.used <= most


def fillers(seats: Mapping[str, Measured], fallen: int, *, inodes_short: bool = False) -> list[str]:
    """The workspaces to stop while the disk is nearly full: those that grow fastest.

    ``fallen``: bytes that the free space lost since there was enough. Deleted files that are still open are not in any
    measurement: if the workspaces' growth does not explain the loss, their writes are compared instead. No workspace is
    stopped for what other programs on the machine use.
    """
    by_growth = {id: seat.grown_in_need for id, seat in seats.items()}
    unexplained = fallen - sum(max(grown, 0) for grown in by_growth.values())
    found = _fastest(by_growth, NEED_BYTES)
    if not found and unexplained >= NEED_BYTES:
        found = _fastest({id: seat.hidden for id, seat in seats.items()}, NEED_BYTES)
        # A workspace with too many files to count has an unknown size.
        found = found or [id for id, seat in seats.items() if seat.walk_seconds >= LONGEST_WALK_SECONDS]
    if not found and inodes_short:
        # Many files take long to count.
        found = _fastest({id: seat.walk_seconds for id, seat in seats.items()}, _NEED_WALK_SECONDS)
    return found


def _fastest(rates: Mapping[str, float], least: float) -> list[str]:
    """The one with the highest rate, and those with at least half of it."""
    highest = max(rates.values(), default=0)
    return [id for id, rate in rates.items() if rate >= max(least, highest / 2)]


def readable(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{round(size / MIB)} MiB"


def notices(store: WorkspaceStore) -> dict[str, Notice]:
    """The notices by workspace id."""
    rows = store.rows("SELECT workspace_id, reason, used, disk_limit, at FROM disk_notices")
    return {row[0]: Notice(Reason(row[1]), row[2], row[3], datetime.fromisoformat(row[4])) for row in rows}


def note(store: WorkspaceStore, workspace_id: str, reason: Reason, used: int, limit: int) -> None:
    """Replaces the workspace's notice; a deleted workspace gets none."""
    store.write(
        "INSERT OR REPLACE INTO disk_notices (workspace_id, reason, used, disk_limit, at)"
        " SELECT id, ?2, ?3, ?4, ?5 FROM workspaces WHERE id = ?1",
        *(workspace_id, str(reason), used, limit, datetime.now(UTC).isoformat(timespec="milliseconds")),
    )


def forget_notice(store: WorkspaceStore, workspace_id: str) -> None:
    store.write("DELETE FROM disk_notices WHERE workspace_id = ?", workspace_id)
