"""The gateway's requests on visits to sleeping workspaces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from ..core.responses import Route
from ..dependencies import ServicesDep
from ..services.visits import visit

router = APIRouter(route_class=Route)


# Over the API's own socket, so without the header that marks callers from elsewhere.
@router.post("/api/visits/{project_id}", include_in_schema=False)
async def visit_project(
    project_id: str, services: ServicesDep, x_alias_caller: Annotated[str, Header()] = "unknown"
) -> Response:
    """Responds to a visit with the status of ``Visit``; 202 has the progress in headers."""
    met = await visit(services, services.row(project_id), x_alias_caller)
    headers = {"X-Wake-Percent": str(met.percent), "X-Wake-Seconds": str(met.seconds)}
    return Response(status_code=met.status, headers=headers if met.status == 202 else None)
