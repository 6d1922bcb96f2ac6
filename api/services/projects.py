"""Operations on workspaces, shared by routes, pages and the workshop's seats."""

from __future__ import annotations

import asyncio
import math

from atelier.common.errors import AtelierError, Code, invalid
from atelier.common.messages import Message
from atelier.common.models import Status, Workspace
from atelier.common.timestamps import timestamp
from atelier.containers.container import check_created
from atelier.database.job_store import Job
from atelier.workshop.idle_policy import extend

from ..auth.middleware import Caller
from ..runner.operations import UPGRADE_ALL, checkpoint_warnings, seats_of
from ..schemas.projects import (
    CheckpointTaken,
    Extended,
    ExtendProject,
    StartedProject,
    UpgradedProject,
    UpgradeProjects,
)
from . import containers
from .jobs import run_job, start_job
from .presenter import UNGROUPED
from .services import Services


def groups(services: Services) -> list[str]:
    """All group names in use, sorted; a workspace without one is in Uncategorized."""
    return sorted({row.group or UNGROUPED for row in services.reads.all()})


async def start_workspace(services: Services, caller: Caller, row: Workspace) -> StartedProject:
    """Starts a workspace; does nothing if it runs, and is not paused."""
    seen = services.watcher.seen.get(row.id)
    if services.presenter.status(row) is not Status.RUNNING or (seen is not None and seen.status == "paused"):
        services.reads.check_running_slot(row.id)
        await run_job(services, caller, "start", [row.id])
    project = services.presenter.project(services.row(row.id))
    return {"success": True, "message": "Workspace started successfully", "project": project}


async def checkpoint_workspace(services: Services, caller: Caller, row: Workspace) -> CheckpointTaken:
    """Raises WORKSPACE_BUSY for one that is being created."""
    check_created(row, "projectId")
    warnings = checkpoint_warnings(await run_job(services, caller, "checkpoint", [row.id]))
    listed = await containers.checkpoints(services, row)
    answer: CheckpointTaken = {
        "success": True,
        "message": "Checkpoint taken successfully",
        "projectId": row.id,
        "checkpoints": listed,
    }
    return {**answer, "warnings": warnings} if warnings else answer


async def reset_workspace(services: Services, caller: Caller, row: Workspace) -> StartedProject:
    """Raises WORKSPACE_BUSY for one that is being created."""
    check_created(row, "projectId")
    services.reads.check_running_slot(row.id)
    await run_job(services, caller, "reset", [row.id])
    project = services.presenter.project(services.row(row.id))
    return {"success": True, "message": "Workspace reset successfully", "project": project}


async def upgrade_workspace(services: Services, caller: Caller, row: Workspace) -> UpgradedProject:
    """Raises WORKSPACE_BUSY for one that is being created, and why one went back."""
    check_created(row, "projectId")
    ended = await run_job(services, caller, "upgrade", [row.id])
    upgraded = any(seat["changed"] for seat in seats_of(ended, "workspace_upgrade"))
    message = "Workspace upgraded successfully" if upgraded else "The workspace has the present image"
    project = services.presenter.project(services.row(row.id))
    return {"success": True, "message": message, "project": project, "upgraded": upgraded}


async def upgrade_several(services: Services, caller: Caller, body: UpgradeProjects) -> Job:
    """Upgrades the workspaces of a group, or all. Raises VALIDATION_ERROR; PROJECT_NOT_FOUND for an empty group."""
    if (body.group is None) is not body.all:
        raise invalid("api.upgrade_which", "group")
    services.require_docker()
    rows = [row for row in services.reads.all() if body.all or row.group == body.group]
    if not rows and not body.all:
        raise AtelierError(Code.PROJECT_NOT_FOUND, Message("api.empty_group", group=body.group), field="group")
    ids = [row.id for row in rows if row.status is not Status.CREATING]
    variables = {"upgrade_all": True} if body.all else {"workspace_group": body.group}
    job, _ = await start_job(services, caller, UPGRADE_ALL, ids, variables)
    return job


async def extend_workspace(services: Services, caller: Caller, row: Workspace, body: ExtendProject | None) -> Extended:
    """Without a number of minutes, by the time after which idle workspaces are stopped."""
    minutes = (body.minutes if body else None) or math.ceil(services.settings.workspace_timeout) or 60
    until = await asyncio.to_thread(extend, services.store, row.id, minutes)
    services.audit.write(caller.name, "extend", row.id, "successful")
    return {
        "success": True,
        "message": "Workspace extended successfully",
        "projectId": row.id,
        "extendedUntil": timestamp(until),
    }
