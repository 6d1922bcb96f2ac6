"""The workshop's seats for whoever runs it: who sits where, what goes on there, and cards to hand out."""
"""The workshop's seats, for whoever runs it: who is there now, and what can be done for one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from atelier.claims import Claim
from atelier.errors import AtelierError, Code
from atelier.model import Workspace
from atelier.passwords import generate_password, hash_password
from fastapi import APIRouter, Body, Response

from ..access import Caller
from ..activity import Activity
from ..changes import change
from ..deps import Platform, Services, Who
from ..docs import errors
from ..responses import JSON
from ..schemas import seats as schemas
from .workshop import ADMIN

router = APIRouter(prefix="/api/workshop", tags=["workshop"], dependencies=ADMIN)

_SECRET = {"Cache-Control": "no-store"}


@router.get("/seats", response_model=schemas.Seats, responses=errors(429))
async def list_seats(platform: Platform) -> Response:
    """The workshop's seats in their order: who has each, and when it was last used. Wants the admin password."""
    rows = await asyncio.to_thread(platform.read_claims.seats)
    activities = await platform.activities.of(rows)
    return JSON({"success": True, "seats": seats(platform, rows, activities)})


@router.post("/cards", response_model=schemas.Cards, responses=errors(404, 429, 503))
async def make_cards(
    platform: Platform, caller: Who, body: Annotated[schemas.MakeCards | None, Body()] = None
) -> Response:
    """What stands on the seats' cards. With ``newPasswords`` each seat gets another password, which this answer alone
    tells; the former one, and whoever is signed in with it, is out. Wants the admin password."""
    wanted = body or schemas.MakeCards()
    rows = _chosen(await asyncio.to_thread(platform.read_claims.seats), wanted.project_ids)
    names = {claim.workspace_id: claim.name for claim in platform.read_claims.open()}
    cards = [_card(platform, row, names.get(row.id)) for row in rows]
    if wanted.new_passwords:
        platform.require_docker()
        told = await asyncio.gather(*(_set_password(platform, caller, row) for row in rows))
        cards = [{**card, **password} for card, password in zip(cards, told, strict=True)]
    return JSON({"success": True, "cards": cards}, headers=_SECRET)


def seats(platform: Services, rows: list[Workspace], activities: Mapping[str, Activity]) -> list[dict[str, Any]]:
    """Seats as this API shows them; nothing is known of those that ``activities`` lacks."""
    claims = {claim.workspace_id: claim for claim in platform.read_claims.open()}
    return [_seat(platform, row, claims.get(row.id), activities.get(row.id, Activity())) for row in rows]


def _seat(platform: Services, row: Workspace, claim: Claim | None, activity: Activity) -> dict[str, Any]:
    return {
        "projectId": row.id,
        "projectName": row.name,
        "workspaceUrl": platform.settings.site.workspace_url(row.id),
        "status": str(platform.presenter.status(row)[0]),
        "claim": {"name": claim.name, "email": claim.email, "claimedAt": claim.claimed_at} if claim else None,
        "activity": {
            "lastHeartbeat": activity.last_heartbeat,
            "lastCommit": activity.last_commit,
            "deniedDomains": [{"domain": domain, "count": count} for domain, count in activity.denied],
        },
    }


def _chosen(rows: list[Workspace], ids: list[str] | None) -> list[Workspace]:
    if ids is None:
        return rows
    unknown = set(ids) - {row.id for row in rows}
    if unknown:
        raise AtelierError(
            Code.PROJECT_NOT_FOUND,
            "Not all of these workspaces are seats of the workshop.",
            field="projectIds",
            value=sorted(unknown)[0][:40],
            remedy="GET /api/workshop/seats lists them.",
        )
    return [row for row in rows if row.id in ids]


async def _set_password(platform: Services, caller: Caller, row: Workspace) -> dict[str, str]:
    """Gives one seat another password. A seat that can't get one says so on its card: the others have theirs by now."""
    password = generate_password()
    variables = {"workspace_password_hash": await asyncio.to_thread(hash_password, password)}
    try:
        await change(platform, caller, "password", row, variables)
    except AtelierError as error:
        return {"error": str(error)}
    return {"password": password}


def _card(platform: Services, row: Workspace, participant: str | None) -> dict[str, Any]:
    return {
        "projectId": row.id,
        "projectName": row.name,
        "workspaceUrl": platform.settings.site.workspace_url(row.id),
        "participant": participant,
        "password": None,
        "error": None,
    }
from typing import Annotated

from atelier.errors import AtelierError, Code
from atelier.expiry import extensions
from atelier.model import Status, Workspace
from fastapi import APIRouter, Body, Response

from ..activity import connections, heartbeats
from ..deps import Platform, ProjectId, Services, Who
from ..docs import errors
from ..presenter import timestamp
from ..responses import JSON
from ..schemas import answers
from ..schemas.projects import ExtendProject
from . import checkpoints, projects
from .workshop import ADMIN, new_password

router = APIRouter(prefix="/api/workshop/seats", tags=["workshop"], dependencies=ADMIN)


@router.get("", response_model=answers.SeatList, responses=errors(429))
async def list_seats(platform: Platform) -> Response:
    """The workshop's seats in the order in which they are claimed: whose each is, and whether somebody uses it now."""
    seats = await asyncio.to_thread(platform.read_claims.seats)
    statuses = {seat.id: platform.presenter.status(seat)[0] for seat in seats}
    connected = await asyncio.to_thread(connections)
    beats = await asyncio.to_thread(heartbeats, [seat for seat in seats if statuses[seat.id] is Status.RUNNING])
    claims = {claim.workspace_id: claim for claim in platform.read_claims.open()}
    extended = extensions(platform.reads)
    return JSON(
        {
            "success": True,
            "seats": [
                {
                    "projectId": seat.id,
                    "projectName": seat.name,
                    "workspaceUrl": platform.settings.site.workspace_url(seat.id),
                    "status": str(statuses[seat.id]),
                    "lastHeartbeat": timestamp(beats[seat.id]) if seat.id in beats else None,
                    "connections": connected[seat.address],
                    "extendedUntil": timestamp(extended[seat.id]) if seat.id in extended else None,
                    "name": claim.name if (claim := claims.get(seat.id)) else None,
                    "email": claim.email if claim else None,
                    "claimedAt": claim.claimed_at if claim else None,
                }
                for seat in seats
            ],
        }
    )


@router.post(
    "/{project_id}/checkpoint", response_model=answers.CheckpointTaken, responses=errors(404, 409, 429, 500, 503)
)
async def checkpoint_seat(project_id: ProjectId, platform: Platform, caller: Who) -> Response:
    """As for any project, for one of the workshop's seats."""
    return await checkpoints.take_checkpoint(_seat(platform, project_id).id, platform, caller)


@router.post("/{project_id}/reset", response_model=answers.StartedProject, responses=errors(404, 409, 429, 500, 503))
async def reset_seat(project_id: ProjectId, platform: Platform, caller: Who) -> Response:
    """As for any project, for one of the workshop's seats."""
    return await checkpoints.reset_project(_seat(platform, project_id).id, platform, caller)


@router.post("/{project_id}/extend", response_model=answers.Extended, responses=errors(404, 429))
async def extend_seat(
    project_id: ProjectId, platform: Platform, caller: Who, body: Annotated[ExtendProject | None, Body()] = None
) -> Response:
    """As for any project, for one of the workshop's seats."""
    return await projects.extend_project(_seat(platform, project_id).id, platform, caller, body)


@router.post("/{project_id}/password", response_model=answers.SeatPassword, responses=errors(404, 429, 500, 503))
async def renew_password(project_id: ProjectId, platform: Platform, caller: Who) -> Response:
    """Sets a fresh password on the seat and shows it this once, as for a printed card: none is stored."""
    row = _seat(platform, project_id)
    password = await new_password(platform, caller, row.id)
    return JSON({"success": True, "projectId": row.id, "password": password}, headers={"Cache-Control": "no-store"})


def _seat(platform: Services, project_id: str) -> Workspace:
    """The admin password opens the workshop's seats, and no other workspace."""
    row = platform.row(project_id)
    if row.id not in {seat.id for seat in platform.read_claims.seats()}:
        raise AtelierError(
            Code.PROJECT_NOT_FOUND,
            "The workspace is no seat of the workshop.",
            field="projectId",
            value=project_id,
            remedy="GET /api/workshop/seats lists them.",
        )
    return row
