"""Addresses of the contract whose features this installation does not have: 503, saying so."""

from __future__ import annotations

from atelier.errors import AtelierError, Code
from fastapi import APIRouter, Response

from ..deps import Platform, ProjectId
from ..docs import errors

router = APIRouter(tags=["not installed"], responses=errors(404, 503))


def _absent(feature: str) -> AtelierError:
    return AtelierError(Code.SERVICE_UNAVAILABLE, f"{feature} is not part of this installation.", feature=feature)


@router.get("/api/projects/{project_id}/squid-logs")
@router.get("/api/projects/{project_id}/recorded-domains")
@router.get("/api/projects/{project_id}/llm-conversations")
@router.delete("/api/projects/{project_id}/llm-conversations")
@router.post("/api/projects/{project_id}/generate-documentation")
async def egress_of_project(project_id: ProjectId, platform: Platform) -> Response:
    platform.row(project_id)
    raise _absent("Egress control")


@router.delete("/api/projects/{project_id}/llm-conversations/{timestamp}")
async def one_conversation(project_id: ProjectId, timestamp: str, platform: Platform) -> Response:
    platform.row(project_id)
    raise _absent("Egress control")


@router.get("/api/whitelist")
@router.put("/api/whitelist")
async def whitelist() -> Response:
    raise _absent("Egress control")


@router.get("/api/git/repositories")
@router.post("/api/git/repositories")
async def git() -> Response:
    raise _absent("The git server")


@router.get("/api/workshop/status")
@router.post("/api/workshop/claim")
@router.get("/api/workshop/claims")
async def workshop() -> Response:
    raise _absent("Workshop registration")


@router.post("/api/workshop/claims/{project_id}/release")
async def release(project_id: ProjectId) -> Response:
    raise _absent("Workshop registration")
