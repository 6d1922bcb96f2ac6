"""The workshop day: occupancy, and the newest rehearsal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from atelier.common.messages import untagged
from atelier.common.models import Site
from atelier.common.timestamps import timestamp
from atelier.database.claims import Claim
from pydantic.alias_generators import to_camel

from ..runner.operations import VERDICT
from ..schemas.workshop import ClaimView, EndedClaim, LastRehearsal, RehearsalVerdict, WorkshopStatus
from .claim_batcher import out_of_reach
from .jobs import job_view, newest
from .services import Services


async def status(services: Services) -> WorkshopStatus:
    """The number of seats, of claimed ones, and of those that can be claimed now."""
    away = out_of_reach(services.reads, services.watcher.answers)
    now = await asyncio.to_thread(services.read_claims.occupancy, away)
    end = services.settings.workshop.end
    found: WorkshopStatus = {"available": now.available, "total": now.total, "claimed": now.claimed}
    if end:
        found["endsAt"] = timestamp(end)
    return found


def newest_rehearsal(services: Services) -> LastRehearsal:
    """The newest rehearsal's job, and its verdict when there is one."""
    job = newest(services, "rehearse")
    events = services.read_jobs.events(job.id) if job else []
    found = next((event.data for event in events if event.kind == VERDICT), None)
    verdict = {to_camel(key): value for key, value in untagged(found).items()} if found else None
    return {"success": True, "job": job_view(job) if job else None, "verdict": cast("RehearsalVerdict | None", verdict)}


def claim_view(site: Site, claim: Claim) -> ClaimView:
    """A claim as the contract shows it."""
    return {
        "projectId": claim.workspace_id,
        "name": claim.name,
        "email": claim.email,
        "projectName": claim.seat_name,
        "workspaceUrl": site.workspace_url(claim.workspace_id),
        "claimedAt": claim.claimed_at,
    }


def ended_views(site: Site, ended: Iterable[Claim]) -> list[EndedClaim]:
    """Former claims."""
    return [{**claim_view(site, claim), "releasedAt": str(claim.released_at)} for claim in ended]
