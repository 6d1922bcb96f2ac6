"""The workshop's seats for whoever runs it: who sits where, what goes on there, and cards to hand out."""

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
