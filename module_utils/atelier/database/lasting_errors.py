"""Errors of a workspace that stay, whatever its container does, until an operator decides: its release failed, its
machine was removed, or both; or a restore had no files for it."""

from __future__ import annotations

from ..common.errors import AtelierError, Code
from ..common.messages import Message, as_message, id_of
from ..common.models import Status, Workspace
from .workspace_store import WorkspaceStore


def release_failed(store: WorkspaceStore, workspace_id: str, why: str) -> None:
    """Marks a seat that may still contain the former participant's work, so that it cannot be claimed."""
    with store.transaction():
        row = store.get(id=workspace_id)
        _mark(store, row, Message("release_failed", why=removal_of(row) or why))


def is_unreleased(workspace: Workspace) -> bool:
    """Whether the seat's release failed. Only a release, a reset or a manual start ends this state."""
    return workspace.status is Status.ERROR and id_of(workspace.error) == "release_failed"


def check_released(workspace: Workspace) -> None:
    """Raises WORKSPACE_BUSY for a seat whose release failed."""
    if is_unreleased(workspace):
        raise AtelierError(Code.WORKSPACE_BUSY, Message("unreleased", name=workspace.name), field="name")


def check_restored(workspace: Workspace) -> None:
    """Raises SNAPSHOT_FAILED for a workspace whose files are in the backup that was restored, and nowhere else. Only a
    reset gives it others."""
    if workspace.status is Status.ERROR and id_of(workspace.error) == "backup.not_restored":
        raise AtelierError(Code.SNAPSHOT_FAILED, as_message(workspace.error or ""), field="name")


def stopped(workspace: Workspace) -> tuple[Status, str | None]:
    """The status and error of a workspace that is stopped from now on."""
    return (workspace.status, workspace.error) if is_unreleased(workspace) else (Status.STOPPED, None)


def machine_removed(store: WorkspaceStore, workspace: Workspace) -> None:
    """Marks a workspace whose machine was removed for good."""
    removed = Message("machine_removed", node=workspace.node)
    _mark(store, workspace, Message("release_failed", why=removed) if is_unreleased(workspace) else removed)


def removal_of(workspace: Workspace) -> Message | None:
    """The error that the workspace's machine was removed, if it was."""
    error = workspace.error
    if isinstance(error, Message) and error.id == "release_failed":
        error = error.params["why"]
    return error if isinstance(error, Message) and error.id == "machine_removed" else None


def _mark(store: WorkspaceStore, workspace: Workspace, error: Message) -> None:
    store.update(workspace.id, status=Status.ERROR, error=error)
