"""Checkpoints of a workspace, beginning again from one, and its template's present image."""

from __future__ import annotations

from fastapi import APIRouter

from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.projects import Checkpoints, CheckpointTaken, StartedProject, UpgradedProject
from ..services import containers
from ..services.projects import checkpoint_workspace, reset_workspace, upgrade_workspace

router = APIRouter(route_class=Route, prefix="/api/projects/{project_id}", tags=["projects"])


@router.get("/checkpoints", responses=errors(404, 500, 503))
async def list_checkpoints(project_id: ProjectId, services: ServicesDep) -> Checkpoints:
    """The workspace's checkpoints, newest last. Five are kept."""
    return {"success": True, "checkpoints": await containers.checkpoints(services, services.row(project_id))}


@router.post("/checkpoint", responses=errors(404, 409, 500, 503))
async def take_checkpoint(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> CheckpointTaken:
    """Takes a checkpoint, which later resets begin from; the oldest beyond five goes. Secrets in known places (keys,
    tokens, shell history) are not in it."""
    return await checkpoint_workspace(services, caller, services.row(project_id))


@router.post("/reset", responses=errors(404, 409, 500, 503))
async def reset_project(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> StartedProject:
    """Resets the workspace to its last checkpoint, or else its base: same id, address, claim and password. The old
    container is kept for a while, stopped. It answers when the IDE does."""
    return await reset_workspace(services, caller, services.row(project_id))


@router.post("/upgrade", responses=errors(404, 409, 500, 503))
async def upgrade_project(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> UpgradedProject:
    """Gives the workspace its template's present image: same id, address, claim, password, /workspace and home folder.
    Everything else that was changed in its container is lost. The old container is kept for a while, stopped; if the
    new one does not come up, it is put back. It answers when the IDE does; a stopped workspace stays stopped."""
    return await upgrade_workspace(services, caller, services.row(project_id))
