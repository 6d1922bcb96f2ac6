"""The workshop's seats with participants and activity, and their cards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.timestamps import timestamp
from atelier.workshop.idle_policy import extensions

from ..auth.middleware import Caller
from ..monitoring.seat_activity import Activity
from ..schemas.seats import Card, MakeCards, Seat
from .passwords import new_password
from .presenter import stopped_for
from .services import Services


def seat(services: Services, project_id: str) -> Workspace:
    """The admin password opens the workshop's seats, and no other workspace."""
    row = services.row(project_id)
    if row.id not in {seat.id for seat in services.read_claims.seats()}:
        raise AtelierError(Code.PROJECT_NOT_FOUND, Message("api.no_seat"), field="projectId", value=project_id)
    return row


async def active_seats(services: Services) -> list[Seat]:
    """The workshop's seats in the order of assignment, with participants and activity."""
    rows = await asyncio.to_thread(services.read_claims.seats)
    return seats(services, rows, await services.activities.of(rows))


def seats(services: Services, rows: Sequence[Workspace], activities: Mapping[str, Activity]) -> list[Seat]:
    """Seats as this API shows them; nothing is known of those that ``activities`` lacks."""
    connected = {node: services.sampler.connections(node) or Counter[str]() for node in {row.node for row in rows}}
    claims = {claim.workspace_id: claim for claim in services.read_claims.open()}
    extended = extensions(services.reads)
    shown: list[Seat] = []
    for row in rows:
        claim, activity = claims.get(row.id), activities.get(row.id, Activity())
        status = services.presenter.status(row)
        shown.append(
            {
                "projectId": row.id,
                "projectName": row.name,
                "workspaceUrl": services.settings.site.workspace_url(row.id),
                "status": status,
                "stoppedFor": stopped_for(row, status),
                "lastHeartbeat": activity.last_heartbeat,
                "lastCommit": activity.last_commit,
                "deniedDomains": [{"domain": domain, "count": count} for domain, count in activity.denied],
                "connections": connected[row.node][row.address],
                "extendedUntil": timestamp(extended[row.id]) if row.id in extended else None,
                "diskWarning": services.presenter.disk_warning(row),
                "name": claim.name if claim else None,
                "email": claim.email if claim else None,
                "claimedAt": claim.claimed_at if claim else None,
            }
        )
    return shown


async def cards(services: Services, caller: Caller, wanted: MakeCards) -> list[Card]:
    """The requested cards; a seat whose password cannot be set has the error on its card, without affecting the
    others."""
    rows = _chosen(await asyncio.to_thread(services.read_claims.seats), wanted.project_ids)
    names = {claim.workspace_id: claim.name for claim in services.read_claims.open()}
    made: list[Card] = [
        {
            "projectId": row.id,
            "projectName": row.name,
            "workspaceUrl": services.settings.site.workspace_url(row.id),
            "participant": names.get(row.id),
            "password": None,
            "error": None,
        }
        for row in rows
    ]
    if wanted.new_passwords:
        services.require_docker()
        await asyncio.gather(*(_set_password(services, caller, card) for card in made))
    return made


def _chosen(rows: list[Workspace], ids: list[str] | None) -> list[Workspace]:
    if ids is None:
        return rows
    unknown = set(ids) - {row.id for row in rows}
    if unknown:
        raise AtelierError(
            Code.PROJECT_NOT_FOUND, Message("api.not_all_seats"), field="projectIds", value=sorted(unknown)[0][:40]
        )
    return [row for row in rows if row.id in ids]


async def _set_password(services: Services, caller: Caller, card: Card) -> None:
    try:
        card["password"] = await new_password(services, caller, card["projectId"])
    except AtelierError as error:
        card["error"] = error.sentence
