"""Errors of a workspace that stay, whatever its container does, until an operator decides: its release failed, its
machine was removed, or a restore had no files for it. The first has a separate column, beside any status."""

from __future__ import annotations

from ..common.errors import AtelierError, Code
from ..common.messages import Message, as_message, id_of
from ..common.models import Status, Workspace


def check_restored(workspace: Workspace) -> None:
    """Raises SNAPSHOT_FAILED for a workspace whose files are in the backup that was restored, and nowhere else. Only a
    reset gives it others."""
    if workspace.status is Status.ERROR and id_of(workspace.error) == "backup.not_restored":
        raise AtelierError(Code.SNAPSHOT_FAILED, as_message(workspace.error or ""), field="name")


def is_removed(workspace: Workspace) -> bool:
    """Whether the workspace's machine was removed for good."""
    return id_of(workspace.error) == "machine_removed"


def shown(workspace: Workspace, status: Status, error: str | None) -> tuple[Status, str | None]:
    """The status and the error as people see them: a seat whose release failed is in error, also if it runs."""
    if workspace.unreleased is None or status is Status.CREATING:
        return status, error
    return Status.ERROR, Message("release_failed", why=error or workspace.unreleased)
