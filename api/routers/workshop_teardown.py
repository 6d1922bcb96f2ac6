"""The end of a workshop: the seats are collected and removed.

Requires the operator or the admin password.
"""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.responses import FileResponse

from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.jobs import JobBegun
from ..schemas.workshop import Collected, TearDown
from ..services import workshop_teardown as teardown

router = APIRouter(route_class=Route, prefix="/api/workshop", tags=["workshop"])


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
