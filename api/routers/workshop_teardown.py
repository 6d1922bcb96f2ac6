"""The end of a workshop: the seats are collected and removed.

Requires the operator or the admin password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.database.job_store import OPEN, Job
from atelier.workshop.manifest import Entry, fault_of, folder_of, read_manifest
from fastapi import APIRouter, Body, Response
from starlette.responses import FileResponse

from ..auth.middleware import Caller
from ..core.openapi import errors
from ..core.responses import JSON, Route
from ..dependencies import CurrentCaller, ProjectId, Services, ServicesDep
from ..jobs.service import begin
from ..runner.operations import COLLECT, TEARDOWN
from ..schemas.ending import Collected, CollectedSeat, TearDown
from ..schemas.jobs import JobAnswer, JobBegun
from .jobs import job_answer

router = APIRouter(route_class=Route, prefix="/api/workshop", tags=["workshop"])


@router.post("/collect", response_model=JobBegun, status_code=202, responses=errors(404, 409, 429, 503))
async def collect_workshop(services: ServicesDep, caller: CurrentCaller) -> Response:
    """Starts a collect: the work in each seat and in their base is committed, pushed if possible, and archived. Can be
    repeated; archives are then renewed."""
    services.require_docker()
    rows = _members(services)
    return await _begin(services, caller, COLLECT, rows, {"workshop_report_only": True})


@router.get("/collect", responses=errors(429))
async def collected_work(services: ServicesDep) -> Collected:
    """The collected work by seat, and the workshop's present workspaces."""
    folder = _folder(services)
    entries = await asyncio.to_thread(read_manifest, folder)
    rows = _members(services)
    faults = await asyncio.to_thread(_faults, folder, entries, rows)
    return {
        "success": True,
        "seats": [_seat(entry) for entry in entries.values()],
        "workspaces": [
            {"projectId": row.id, "projectName": row.name, "isBase": _is_base(row), "collected": row.id not in faults}
            for row in rows
        ],
        "job": _newest(services, COLLECT),
        "teardown": _newest(services, TEARDOWN),
    }


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
    folder = _folder(services)
    entry = (await asyncio.to_thread(read_manifest, folder)).get(project_id)
    path = folder / entry.file if entry and entry.file else None
    if path is None or not path.is_file():
        raise AtelierError(Code.NOT_FOUND, Message("api.no_archive"), field="projectId", value=project_id[:40])
    return FileResponse(path, media_type="application/zstd", filename=path.name, headers={"Cache-Control": "no-store"})


@router.post("/teardown", response_model=JobBegun, status_code=202, responses=errors(404, 409, 429, 503))
async def tear_workshop_down(
    services: ServicesDep, caller: CurrentCaller, body: Annotated[TearDown | None, Body()] = None
) -> Response:
    """Starts the removal of the seats, claimed or not. If one is not collected, nothing is removed (409), unless the
    loss is accepted. Workspaces that are no clones, above all the base, stay unless requested."""
    services.require_docker()
    wanted = body or TearDown()
    rows = [row for row in _members(services) if wanted.base or not _is_base(row)]
    folder = _folder(services)
    if wanted.collected != "ignore":
        entries = await asyncio.to_thread(read_manifest, folder)
        _refuse_missing(await asyncio.to_thread(_faults, folder, entries, rows), rows)
    variables = {"confirm": True, "collected": wanted.collected or ""}
    return await _begin(services, caller, TEARDOWN, rows, variables)


async def _begin(
    services: Services, caller: Caller, operation: str, rows: Sequence[Workspace], variables: Mapping[str, Any]
) -> Response:
    under_way = next((job for job in services.read_jobs.unfinished() if job.operation in (COLLECT, TEARDOWN)), None)
    if under_way is not None:
        raise AtelierError(
            Code.WORKSPACE_BUSY,
            Message("api.ending_under_way", operation=under_way.operation, job=under_way.id),
            job=under_way.id,
        )
    if not rows:
        raise AtelierError(Code.NOT_FOUND, Message("api.no_seats", group=services.settings.workshop.group))
    ids = [row.id for row in rows]
    ordered = {"workshop_archive": str(_folder(services)), **variables}
    job = await asyncio.to_thread(services.jobs.open, operation, ids, ordered, caller.name)
    begin(services, caller, job)
    message = f"The {operation} of {len(ids)} workspaces has begun"
    answer = {"success": True, "message": message, "jobId": job.id}
    return JSON(answer, 202, headers={"Location": f"/api/jobs/{job.id}"})


def _members(services: Services) -> list[Workspace]:
    """The seats in the order in which they are claimed, then what they were cloned from."""
    seats = services.read_claims.seats()
    known = {row.id for row in seats}
    return seats + [row for row in services.read_claims.members() if row.id not in known]


def _is_base(row: Workspace) -> bool:
    """Whether it is a base, not a clone."""
    return row.cloned_from is None


def _folder(services: Services) -> Path:
    return folder_of(services.settings.site.state_dir, services.settings.workshop.group)


def _faults(folder: Path, entries: Mapping[str, Entry], rows: Sequence[Workspace]) -> dict[str, str]:
    """Of which workspaces the work is not there, and why, by id. The playbook reads the archives, and looks for
    work that is newer, before it removes."""
    found = {row.id: fault_of(folder, entries.get(row.id), read=False) for row in rows}
    return {id: fault for id, fault in found.items() if fault}


def _refuse_missing(faults: Mapping[str, str], rows: Sequence[Workspace]) -> None:
    missing = [row.name for row in rows if row.id in faults]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise AtelierError(
            Code.NOT_COLLECTED,
            Message("api.not_collected", missing=len(missing), total=len(rows), names=shown),
            missing=missing,
        )


def _newest(services: Services, operation: str) -> JobAnswer | None:
    job = next((job for job in services.read_jobs.all(1000) if job.operation == operation), None)
    return _shown(services, job) if job else None


def _shown(services: Services, job: Job) -> JobAnswer:
    """A job; how far a teardown is, its rows tell."""
    answer = job_answer(job)
    if job.operation == TEARDOWN and job.state in OPEN:
        gone = sum(services.reads.find(id=id) is None for id in job.project_ids)
        answer["progress"] = {"done": gone, "total": len(job.project_ids)}
    return answer


def _seat(entry: Entry) -> CollectedSeat:
    return {
        "projectId": entry.id,
        "projectName": entry.name,
        "state": entry.state,
        "collectedAt": entry.collected_at,
        "file": entry.file,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "branch": entry.branch,
        "commit": entry.commit,
        "committed": entry.committed,
        "pushed": entry.pushed,
        "note": entry.note,
        "error": entry.error,
    }
