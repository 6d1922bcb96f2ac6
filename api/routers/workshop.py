"""The workshop day: participants claim seats, the admin manages the claims; the rehearsal before it, and the end.

Rehearsal and end require the operator or the admin password.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from atelier.common.errors import AtelierError, Code, invalid
from atelier.common.messages import Message
from atelier.common.passwords import generate_password, hash_password
from atelier.containers.container import check_created
from atelier.database.claims import Claim, ClaimStatus, Participant, sheet
from atelier.workshop.release import KEEP_FILES, RESET_FILES
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import APIKeyHeader, APIKeyQuery
from starlette.responses import FileResponse

from ..auth.admin_password import words_of
from ..auth.middleware import Caller
from ..core.errors import STATUS, error_body
from ..core.openapi import errors
from ..core.rate_limit import network_of
from ..core.responses import JSON, Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..runner.operations import RELEASE
from ..schemas.jobs import JobBegun
from ..schemas.workshop import (
    ClaimedSeat,
    ClaimList,
    ClaimRefused,
    ClaimSeat,
    Collected,
    LastRehearsal,
    Rehearse,
    ReleasedSeat,
    TearDown,
    WorkshopStatus,
)
from ..services import workshop_teardown as teardown
from ..services.jobs import run_job, start_job
from ..services.passwords import new_password
from ..services.services import Services
from ..services.visits import wake_claimed
from ..services.workshop import claim_view, ended_views, newest_rehearsal, status

router = APIRouter(route_class=Route, prefix="/api/workshop", tags=["workshop"])

# The contract's sentences for ``error``, word for word; ``message`` has a code like that of every other refusal.
_GERMAN: Mapping[Code, str] = {
    Code.ALREADY_CLAIMED: "Diese E-Mail-Adresse ist bereits registriert.",
    Code.WORKSHOP_FULL: "Leider sind keine Workspaces mehr verfügbar. Bitte wenden Sie sich an den Workshop-Leiter.",
    Code.TOO_MANY_SEATS: "Von diesem Browser oder Anschluss aus sind schon so viele Plätze belegt, wie erlaubt sind.",
    Code.WORKSHOP_OVER: "Der Workshop ist beendet.",
    Code.WRONG_ACCESS_CODE: "Der Zugangscode fehlt oder ist falsch.",
}


async def _admin(request: Request, services: ServicesDep, caller: CurrentCaller) -> None:
    """Accepts requests with the admin password or its session."""
    if caller.workshop_admin:
        return
    words = words_of(request.headers, request.scope["query_string"], services.settings.token)
    services.admin_password.check(caller.address, request.headers, words)


# The two that the documentation offers; the check itself is _admin's.
_ways = (APIKeyHeader(name="X-Admin-Password", auto_error=False), APIKeyQuery(name="password", auto_error=False))
ADMIN = [Depends(_admin), *(Depends(way) for way in _ways)]


@router.get("/status", responses=errors())
async def get_workshop_status(services: ServicesDep) -> WorkshopStatus:
    """The number of seats, of claimed ones, and of those that can be claimed now."""
    return await status(services)


@router.post(
    "/claim",
    response_model=ClaimedSeat,
    responses={**errors(429, 500, 503), 409: {**errors(409)[409], "model": ClaimRefused}},
)
async def claim_workspace(body: ClaimSeat, services: ServicesDep, caller: CurrentCaller, request: Request) -> Response:
    """Assigns the next free seat. A participant with a seat gets 409 with that seat.

    If the workshop generates passwords, a claim sets one and shows it once.
    """
    settings = services.settings.workshop
    if caller.name != "loopback":
        try:
            services.claim_tries.check(caller.address)
        except AtelierError as error:
            services.audit.refuse(caller, "claim", error.code)
            raise
        services.claim_tries.count(caller.address)
    if settings.end is not None and services.clock.now() >= settings.end:
        return _refused(services, caller, AtelierError(Code.WORKSHOP_OVER, Message("claim.over")))
    code = settings.access_code
    if code and not hmac.compare_digest((body.access_code or "").encode(), code.encode()):
        # First of all: without the code nothing is revealed about participants.
        wrong = AtelierError(Code.WRONG_ACCESS_CODE, Message("claim.wrong_code"), field="accessCode")
        return _refused(services, caller, wrong)
    if settings.generate_passwords:
        services.require_docker()
    if caller.operator or caller.workshop_admin:  # who may register whom they like
        return await _claim(services, caller, Participant(body.name, body.email))
    known = services.claimants.known(request.headers)
    browser = known or services.claimants.new()
    answer = await _claim(services, caller, Participant(body.name, body.email, browser, network_of(caller.address)))
    if known is None and answer.status_code == 200:
        services.claimants.remember(answer, browser)
    return answer


@router.get("/claims", responses=errors(429), dependencies=ADMIN)
async def list_claims(services: ServicesDep) -> ClaimList:
    """The present and former claims. Requires the admin password."""
    opened, ended = await asyncio.to_thread(_all_claims, services)
    site = services.settings.site
    return {"claims": [claim_view(site, claim) for claim in opened], "history": ended_views(site, ended)}


@router.get(
    "/claims.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "The sheet."}, **errors(429)},
    dependencies=ADMIN,
)
async def export_claims(services: ServicesDep) -> Response:
    """The same as a sheet of comma-separated values, for spreadsheets. Wants the admin password."""
    opened, ended = await asyncio.to_thread(_all_claims, services)
    return Response(
        # With a byte order mark, by which spreadsheets recognise UTF-8.
        sheet(services.settings.site, [*opened, *ended]).encode("utf-8-sig"),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="claims.csv"', "Cache-Control": "no-store"},
    )


@router.post("/claims/{project_id}/release", responses=errors(404, 409, 429, 500, 503), dependencies=ADMIN)
async def release_claim(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> ReleasedSeat:
    """Releases a seat. All sessions and processes of the former participant have ended when this answers. If the
    workshop generates passwords, the seat gets one that nobody knows. Depending on the settings, its files are reset,
    too. If this fails, the seat cannot be claimed until it is started or reset. Requires the admin password."""
    row = services.row(project_id)
    workshop = services.settings.workshop
    claims, released = services.claim_batcher.claims, list[Claim]()
    variables = {"release_files": RESET_FILES if workshop.reset_on_release else KEEP_FILES}
    if workshop.generate_passwords:
        variables["workspace_password_hash"] = await asyncio.to_thread(hash_password, generate_password())
    # The job is stored before the claim ends. Until it has ended, the seat cannot be claimed.
    ended = await run_job(
        services, caller, RELEASE, [row.id], variables, lambda: released.append(claims.release(row.id))
    )
    result = ended.results.get("workspace_release", {})
    kept: Literal["kept", "none"] = "kept" if row.password_hash else "none"
    return {
        "success": True,
        "released": claim_view(services.settings.site, replace(released[0], seat_name=row.name)),
        "sessions": "ended",
        "password": "changed" if workshop.generate_passwords else kept,
        "files": "reset" if result.get("origin") not in (None, "", "files") else "kept",
        "keptContainer": result.get("kept"),
    }


@router.post("/rehearse", status_code=202, responses=errors(404, 409, 429, 503))
async def rehearse_workshop(services: ServicesDep, caller: CurrentCaller, body: Rehearse | None = None) -> JobBegun:
    """Starts a rehearsal: creates seats, opens all at once through the gateway, and removes them. The verdict comes at
    the job's end: GET on this address, or the job's event ``verdict``."""
    wanted = body or Rehearse()
    seats = services.read_claims.seats()
    source = wanted.project_id or next((seat.cloned_from for seat in seats if seat.cloned_from), None)
    if source is None:
        raise invalid("api.nothing_to_rehearse", "projectId")
    row = services.row(source)
    if not caller.operator and row not in services.read_claims.members():
        # Its clones would be open to everybody who knows their addresses.
        raise AtelierError(Code.PROJECT_NOT_FOUND, Message("api.not_of_workshop"), field="projectId", value=row.id)
    check_created(row, "projectId")
    services.require_docker()
    variables = {"rehearse_seats": wanted.seats or len(seats) or 1}
    job, _ = await start_job(services, caller, "rehearse", [row.id], variables)
    message = f"Rehearsing with {variables['rehearse_seats']} seats"
    return {"success": True, "message": message, "jobId": job.id}


@router.get("/rehearse", responses=errors(429))
async def last_rehearsal(services: ServicesDep) -> LastRehearsal:
    """The newest rehearsal's job, and its verdict once it has one."""
    return newest_rehearsal(services)


@router.post("/collect", status_code=202, responses=errors(404, 409, 429, 503))
async def collect_workshop(services: ServicesDep, caller: CurrentCaller) -> JobBegun:
    """Starts a collect: the work in each seat and in their base is committed, pushed if possible, and archived. Can be
    repeated; archives are then renewed."""
    return await teardown.collect(services, caller)


@router.get("/collect", responses=errors(429))
async def collected_work(services: ServicesDep) -> Collected:
    """The collected work by seat, and the workshop's present workspaces."""
    return await teardown.collected(services)


@router.get(
    "/collect/{project_id}/archive",
    response_class=Response,
    responses={
        200: {"content": {"application/zstd": {}}, "description": "The archive: tar, compressed with zstd."},
        **errors(404, 429),
    },
)
async def download_archive(project_id: ProjectId, services: ServicesDep) -> Response:
    """One seat's archive, also of a seat that is gone. It holds a stranger's files: docs/git.md says how to look into
    it safely."""
    path = await teardown.archive(services, project_id)
    return FileResponse(path, media_type="application/zstd", filename=path.name, headers={"Cache-Control": "no-store"})


@router.post("/teardown", status_code=202, responses=errors(404, 409, 429, 503))
async def tear_workshop_down(services: ServicesDep, caller: CurrentCaller, body: TearDown | None = None) -> JobBegun:
    """Starts the removal of the seats, claimed or not. If one is not collected, nothing is removed (409), unless the
    loss is accepted. Workspaces that are no clones, above all the base, stay unless requested."""
    return await teardown.tear_down(services, caller, body or TearDown())


async def _claim(services: Services, caller: Caller, participant: Participant) -> Response:
    outcome = await services.claim_batcher.claim(participant)
    claim = outcome.claim
    if outcome.status is ClaimStatus.TOO_MANY:
        return _refused(services, caller, AtelierError(Code.TOO_MANY_SEATS, Message("claim.too_many")))
    if claim is None:
        services.health.refusals += 1
        return _refused(services, caller, AtelierError(Code.WORKSHOP_FULL, Message("claim.full")))
    if claim.password_pending:
        with services.claim_batcher.password_delivery_lock(claim) as ours:
            if ours:
                try:
                    return await _seat_with_password(services, caller, claim)
                except AtelierError:
                    if services.reads.find(id=claim.workspace_id) is not None:
                        raise
                # The seat was removed meanwhile, and the claim with it.
                return await _claim(services, caller, participant)
    wake_claimed(services, claim, caller.address)
    if outcome.status is ClaimStatus.KNOWN:
        seat = _seat(services, claim)
        known = AtelierError(Code.ALREADY_CLAIMED, Message("claim.registered", seat=seat["projectName"]))
        return _refused(services, caller, known, seat)
    services.audit.write(caller.name, "claim", claim.workspace_id, "successful")
    return JSON(_seat(services, claim))


def _all_claims(services: Services) -> tuple[list[Claim], list[Claim]]:
    """The present claims, with their seats' present names, and the former ones, with the names at their time."""
    claims = services.read_claims
    names = {row.id: row.name for row in services.reads.all()}
    present = [replace(claim, seat_name=names.get(claim.workspace_id, claim.seat_name)) for claim in claims.open()]
    return present, claims.ended()


async def _seat_with_password(services: Services, caller: Caller, claim: Claim) -> Response:
    """Sets a new password on the seat and returns it. If the machine or Docker went down before it was returned, the
    participant's next attempt sets another."""
    password = await new_password(services, caller, claim.workspace_id)
    await asyncio.to_thread(services.claim_batcher.claims.mark_password_shown, claim)
    services.audit.write(caller.name, "claim", claim.workspace_id, "successful")
    wake_claimed(services, claim, caller.address)
    return JSON({**_seat(services, claim), "password": password}, headers={"Cache-Control": "no-store"})


def _refused(services: Services, caller: Caller, error: AtelierError, seat: ClaimedSeat | None = None) -> JSON:
    services.audit.refuse(caller, "claim", error.code)
    details = {str(error.details["field"]): error.sentence} if "field" in error.details else {}
    body = error_body(error.code, _GERMAN[error.code], details, error.sentence)
    return JSON({**body, **(seat or {})}, STATUS[error.code])


def _seat(services: Services, claim: Claim) -> ClaimedSeat:
    row = services.reads.find(id=claim.workspace_id)
    seat: ClaimedSeat = {
        "workspaceUrl": services.settings.site.workspace_url(claim.workspace_id),
        "projectName": row.name if row else claim.seat_name,
    }
    if row and (warning := services.presenter.disk_warning(row)):
        seat["diskWarning"] = warning
    return seat
