"""Addresses of the contract whose features this installation does not have: 503, saying so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atelier.errors import AtelierError, Code
from fastapi import APIRouter, Response

from ..deps import Platform, ProjectId
from ..docs import errors
from ..schemas.answers import Error

router = APIRouter(tags=["not installed"])

_EGRESS, _GIT, _WORKSHOP = "Egress control", "The git server", "Workshop registration"


def _absent(feature: str) -> AtelierError:
    return AtelierError(Code.SERVICE_UNAVAILABLE, f"{feature} is not part of this installation.", feature=feature)


def _add(method: str, path: str, name: str, feature: str) -> None:
    async def of_project(project_id: ProjectId, platform: Platform) -> Response:
        platform.row(project_id)
        raise _absent(feature)

    async def of_conversation(project_id: ProjectId, timestamp: str, platform: Platform) -> Response:
        platform.row(project_id)
        raise _absent(feature)

    async def of_claim(project_id: ProjectId) -> Response:
        raise _absent(feature)

    async def of_platform() -> Response:
        raise _absent(feature)

    endpoints: dict[str, Callable[..., Any]] = {
        "{timestamp}": of_conversation,
        "/claims/{project_id}": of_claim,
        "{project_id}": of_project,
    }
    router.add_api_route(
        path,
        next((endpoint for part, endpoint in endpoints.items() if part in path), of_platform),
        methods=[method],
        name=name,
        status_code=503,
        response_model=Error,
        responses=errors(404, 503) if "{project_id}" in path else errors(503),
        description=f"{feature} is not part of this installation: 503 says so.",
    )


for _method, _path, _name in (
    ("GET", "squid-logs", "get_squid_logs"),
    ("GET", "recorded-domains", "get_recorded_domains"),
    ("GET", "llm-conversations", "get_llm_conversations"),
    ("DELETE", "llm-conversations", "delete_llm_conversations"),
    ("DELETE", "llm-conversations/{timestamp}", "delete_llm_conversation"),
    ("POST", "generate-documentation", "generate_documentation"),
):
    _add(_method, f"/api/projects/{{project_id}}/{_path}", _name, _EGRESS)
_add("GET", "/api/whitelist", "get_whitelist", _EGRESS)
_add("PUT", "/api/whitelist", "put_whitelist", _EGRESS)
_add("GET", "/api/git/repositories", "list_git_repositories", _GIT)
_add("POST", "/api/git/repositories", "create_git_repository", _GIT)
_add("GET", "/api/workshop/status", "get_workshop_status", _WORKSHOP)
_add("POST", "/api/workshop/claim", "claim_workspace", _WORKSHOP)
_add("GET", "/api/workshop/claims", "list_claims", _WORKSHOP)
_add("POST", "/api/workshop/claims/{project_id}/release", "release_claim", _WORKSHOP)
