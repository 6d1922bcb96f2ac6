"""The git server's repositories: read from the server itself, made by a playbook."""

from __future__ import annotations

from atelier.git.client import require_git
from atelier.git.repository import RepositorySpec
from fastapi import APIRouter, Depends

from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ServicesDep
from ..schemas.git import CreateRepository, Repositories, RepositoryCreated
from ..services.git import create_repository, repositories

router = APIRouter(route_class=Route, tags=["git"])


def _require_git(services: ServicesDep) -> None:
    require_git(services.settings.site)


@router.get("/api/git/repositories", responses=errors(500, 503))
async def list_git_repositories(services: ServicesDep) -> Repositories:
    """All repositories, by name, with their branches. A damaged one has a `problem` instead."""
    return {"success": True, "repositories": await repositories(services)}


@router.post(
    "/api/git/repositories",
    status_code=201,
    responses=errors(409, 500, 503),
    # Checked before the body is read.
    dependencies=[Depends(_require_git)],
)
async def create_git_repository(
    body: CreateRepository, services: ServicesDep, caller: CurrentCaller
) -> RepositoryCreated:
    """A new, empty repository. A name that is in use is refused with 409."""
    wanted = RepositorySpec(body.name, description=body.description, private=body.private)
    return {"success": True, "repository": await create_repository(services, caller, wanted)}
