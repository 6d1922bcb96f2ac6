"""The release of a workshop seat: ends everything that the former participant runs in it.

No program in the seat is used for that, since its user may have replaced all of them. The database gets the new
password first. So an interrupted release leaves a seat that locks out the former participant at its next start, and
another run completes it.
"""

from __future__ import annotations

from dataclasses import replace

from ..common.errors import AtelierError
from ..common.messages import Message
from ..common.models import Status
from ..containers.container import STOPPED, apply_ide_config
from ..containers.context import Context
from ..containers.git_provisioning import renew_credential
from ..database.claims import claim_times
from ..database.workspace_store import new_id
from ..gateway.port_access import unshare_ports
from ..workspaces.kept_containers import recovered
from ..workspaces.reset import ResetOutcome, reset
from ..workspaces.views import current_view

KEEP_FILES, RESET_FILES = "keep", "reset"


def release(
    context: Context,
    *,
    id: str | None,
    name: str | None,
    password_hash: str | None,
    files: str,
    keep_hours: float,
    run_id: str | None = None,
    check_mode: bool = False,
) -> ResetOutcome:
    """Ends all sessions and processes of the seat. ``password_hash`` None keeps the password; ``files`` is KEEP_FILES
    or RESET_FILES. A second run with the same ``run_id`` does not reset the files again.

    ``origin`` of the outcome is ``files`` if the files stay. After a failure the seat is in state ``error``, so that it
    is not assigned. Raises PROJECT_NOT_FOUND, and the errors of restarting or resetting a seat.
    """
    row = context.store.get(id=id, name=name)
    if check_mode:
        before = current_view(context, row)
        return ResetOutcome(True, before, before, "", None)
    try:
        before = _lock_out(context, row.id, password_hash, run_id or new_id())
        if files == RESET_FILES and row.status is not Status.CREATING:
            outcome = reset(
                context,
                id=row.id,
                name=None,
                keep_hours=keep_hours,
                run_id=run_id,
                # A checkpoint taken while the seat was claimed contains the participant's files.
                taken_before=claim_times(context.store, row.id)[0],
            )
            return replace(outcome, changed=True, before=before)
        return _end_sessions(context, row.id, before)
    except (AtelierError, OSError) as error:
        # Also if Docker is unavailable or a disk is full: the former participant may still have access, so the seat
        # must not be assigned.
        if row.status is not Status.CREATING:
            why = error.message if isinstance(error, AtelierError) else str(error)
            context.store.update(row.id, unreleased=why)
        raise


def _lock_out(context: Context, id: str, password_hash: str | None, sessions: str) -> dict[str, object]:
    """Gives the seat the password and the sessions that apply from its next start on. Returns its view from before.
    ``sessions`` is a word that the former participant can't know: the hash, the cookie's value, was readable in the
    seat."""
    with context.locks.workspace(id, context.lock_wait):
        row = context.store.get(id=id)
        before = current_view(context, row)
        password_hash = row.password_hash if password_hash is None else password_hash
        context.store.update(id, sessions=sessions, password_hash=password_hash)
        # This invalidates port passes; shares of the former participant end, too.
        unshare_ports(context.store, id)
        context.sync_ports()
    return before


def _end_sessions(context: Context, id: str, before: dict[str, object]) -> ResetOutcome:
    with context.locks.workspace(id, context.lock_wait):
        row = context.store.get(id=id)
        here = context.at(row)
        row, container = recovered(here, row)
        # A seat that is being created gets the new password when it starts.
        if container is not None and row.status is not Status.CREATING:
            context.progress(Message("step.end_sessions", name=row.name), 0, 1)
            # Before the restart, because the seat loads it then; no program has to run in the seat.
            renew_credential(here, row)
            apply_ide_config(here, row, container)
            status = Status.STOPPED if container.status in STOPPED else Status.RUNNING
            context.store.update(id, status=status, error=None, unreleased=None)
            context.progress(Message("step.end_sessions", name=row.name), 1, 1)
        after = current_view(context, context.store.get(id=id))
    return ResetOutcome(True, before, after, "files", None)
