"""Checkpoints of a workspace, and beginning again from one."""

from __future__ import annotations

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Status, Workspace
from fastapi import APIRouter

from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, Services, ServicesDep
from ..jobs.service import change
from ..schemas.projects import Checkpoints, CheckpointTaken, CheckpointView, StartedProject
from ..services import containers

router = APIRouter(route_class=Route, prefix="/api/projects/{project_id}", tags=["projects"])


@router.get("/checkpoints", responses=errors(404, 503))
async def list_checkpoints(project_id: ProjectId, services: ServicesDep) -> Checkpoints:
    """The workspace's checkpoints, newest last. Five are kept."""
    return {"success": True, "checkpoints": await _listed(services, services.row(project_id))}


@router.post("/checkpoint", responses=errors(404, 409, 500, 503))
async def take_checkpoint(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> CheckpointTaken:
    """Takes a checkpoint, which later resets begin from; the oldest beyond five goes. Secrets in known places (keys,
    tokens, shell history) are not in it."""
    row = _made(services.row(project_id))
    await change(services, caller, "checkpoint", row)
    listed = await _listed(services, row)
    return {"success": True, "message": "Checkpoint taken successfully", "projectId": row.id, "checkpoints": listed}


@router.post("/reset", responses=errors(404, 409, 500, 503))
async def reset_project(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> StartedProject:
    """Resets the workspace to its last checkpoint, or else its base: same id, address, claim and password. The old
    container is kept for a while, stopped. It answers when the IDE does."""
    row = _made(services.row(project_id))
    services.reads.check_running_slot(row.id)
    await change(services, caller, "reset", row)
    project = services.presenter.project(services.row(project_id))
    return {"success": True, "message": "Workspace reset successfully", "project": project}


def _made(row: Workspace) -> Workspace:
    if row.status is Status.CREATING:
        raise AtelierError(Code.WORKSPACE_BUSY, Message("api.being_made"), field="projectId")
    return row


async def _listed(services: Services, row: Workspace) -> list[CheckpointView]:
    found = await services.seat_threads.ask(("checkpoints", row.id), containers.checkpoints, services.settings, row)
    return [{"takenAt": checkpoint.taken_at} for checkpoint in found]
