"""Addresses of the contract whose features this installation does not have: 503, saying so."""

from __future__ import annotations

from atelier.errors import AtelierError, Code
from fastapi import APIRouter, Response

from ..deps import ProjectId
from ..docs import errors
from ..schemas.answers import Error

router = APIRouter(tags=["not installed"])

_WORKSHOP = "Workshop registration"
_GIT = "The git server"


def _absent(feature: str) -> AtelierError:
    return AtelierError(Code.SERVICE_UNAVAILABLE, f"{feature} is not part of this installation.", feature=feature)


def _add(method: str, path: str, name: str, feature: str) -> None:
    async def of_claim(project_id: ProjectId) -> Response:
        raise _absent(feature)

    async def of_platform() -> Response:
        raise _absent(feature)

    router.add_api_route(
        path,
        of_claim if "{project_id}" in path else of_platform,
        methods=[method],
        name=name,
        status_code=503,
        response_model=Error,
        responses=errors(404, 503) if "{project_id}" in path else errors(503),
        description=f"{feature} is not part of this installation: 503 says so.",
    )


_add("GET", "/api/workshop/status", "get_workshop_status", _WORKSHOP)
_add("POST", "/api/workshop/claim", "claim_workspace", _WORKSHOP)
_add("GET", "/api/workshop/claims", "list_claims", _WORKSHOP)
_add("POST", "/api/workshop/claims/{project_id}/release", "release_claim", _WORKSHOP)
_add("GET", "/api/git/repositories", "list_git_repositories", _GIT)
_add("POST", "/api/git/repositories", "create_git_repository", _GIT)
