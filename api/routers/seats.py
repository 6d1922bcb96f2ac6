"""The workshop's seats for its admin: participants, activity, and operations."""

from __future__ import annotations

from fastapi import APIRouter, Response

from ..core.openapi import errors
from ..core.responses import JSON, Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.projects import CheckpointTaken, Extended, ExtendProject, StartedProject
from ..schemas.seats import Cards, MakeCards, SeatList, SeatPassword
from ..services.passwords import new_password
from ..services.projects import checkpoint_workspace, extend_workspace, reset_workspace, start_workspace
from ..services.seats import active_seats, cards, seat
from .workshop import ADMIN

_SECRET = {"Cache-Control": "no-store"}
router = APIRouter(route_class=Route, prefix="/api/workshop", tags=["workshop"], dependencies=ADMIN)


@router.get("/seats", responses=errors(429))
async def list_seats(services: ServicesDep) -> SeatList:
    """The workshop's seats in the order of assignment, with participants and activity."""
    return {"success": True, "seats": await active_seats(services)}


@router.post("/seats/{project_id}/start", responses=errors(404, 409, 429, 500, 503))
async def start_seat(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> StartedProject:
    """Starts a seat of the workshop, as for any project."""
    return await start_workspace(services, caller, seat(services, project_id))


@router.post("/seats/{project_id}/checkpoint", responses=errors(404, 409, 429, 500, 503))
async def checkpoint_seat(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> CheckpointTaken:
    """Takes a checkpoint of a seat of the workshop, as for any project."""
    return await checkpoint_workspace(services, caller, seat(services, project_id))


@router.post("/seats/{project_id}/reset", responses=errors(404, 409, 429, 500, 503))
async def reset_seat(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> StartedProject:
    """Resets a seat of the workshop, as for any project."""
    return await reset_workspace(services, caller, seat(services, project_id))


@router.post("/seats/{project_id}/extend", responses=errors(404, 429))
async def extend_seat(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: ExtendProject | None = None
) -> Extended:
    """Keeps a seat of the workshop from being stopped, as for any project."""
    return await extend_workspace(services, caller, seat(services, project_id), body)


@router.post("/seats/{project_id}/password", response_model=SeatPassword, responses=errors(404, 409, 429, 500, 503))
async def renew_password(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> Response:
    """Sets a fresh password on the seat and shows it this once, as for a printed card: none is stored."""
    row = seat(services, project_id)
    password = await new_password(services, caller, row.id)
    return JSON({"success": True, "projectId": row.id, "password": password}, headers=_SECRET)


@router.post("/cards", response_model=Cards, responses=errors(404, 429, 503))
async def make_cards(services: ServicesDep, caller: CurrentCaller, body: MakeCards | None = None) -> Response:
    """The content of the seats' cards. With ``newPasswords`` each seat gets a new password, shown only in this answer;
    the former one and its sessions become invalid. Requires the admin password."""
    return JSON({"success": True, "cards": await cards(services, caller, body or MakeCards())}, headers=_SECRET)
