"""The git server's repositories: read from the server itself, made by a playbook."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.git.client import open_forge, require_git
from atelier.git.repository import Listed, RepositorySpec, check, with_branches
from fastapi import APIRouter, Depends

from ..core.formatting import timestamp
from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ServicesDep
from ..jobs.service import follow
from ..runner.operations import raise_for
from ..schemas.git import CreateRepository, Repositories, Repository, RepositoryCreated

router = APIRouter(route_class=Route, tags=["git"])


def _require_git(services: ServicesDep) -> None:
    require_git(services.settings.site)


@router.get("/api/git/repositories", responses=errors(500, 503))
async def list_git_repositories(services: ServicesDep) -> Repositories:
    """All repositories, by name, with their branches. A damaged one has a `problem` instead."""
    forge = open_forge(services.settings.site)
    found = await asyncio.to_thread(forge.repositories)
    looked_at = await asyncio.gather(*(asyncio.to_thread(with_branches, forge, repository) for repository in found))
    return {"success": True, "repositories": [_shown(listed) for listed in looked_at if listed]}


@router.post(
    "/api/git/repositories",
    status_code=201,
    responses=errors(409, 500, 503),
    # Before the body is read.
    dependencies=[Depends(_require_git)],
)
async def create_git_repository(
    body: CreateRepository, services: ServicesDep, caller: CurrentCaller
) -> RepositoryCreated:
    """A new, empty repository. A name that is in use is refused with 409."""
    check(RepositorySpec(body.name, description=body.description))
    forge = open_forge(services.settings.site)
    variables = {
        "repository_name": body.name,
        "repository_description": body.description or "",
        "repository_private": bool(body.private),
    }
    job = await asyncio.to_thread(services.jobs.open, "repository", [], variables, caller.name)
    ended = await follow(services, caller, job)
    outcome = ended.state if ended.error is None else f"{ended.state}: {ended.error.code}"
    services.audit.write(caller.name, "repository", None, outcome, job.id)
    raise_for(ended)
    made = await asyncio.to_thread(forge.repository, body.name)
    if made is None:
        raise AtelierError(Code.GIT_REPO_CREATE_FAILED, Message("api.repository_deleted", name=body.name), field="name")
    return {"success": True, "repository": _shown(Listed(made))}


def _shown(listed: Listed) -> Repository:
    repository = listed.repository
    return {
        "name": repository.name,
        "fullName": repository.full_name,
        "description": repository.description,
        "url": repository.web_url,
        "cloneUrl": repository.clone_url,
        "private": repository.private,
        "createdAt": _time(repository.created_at),
        "updatedAt": _time(repository.updated_at),
        "defaultBranch": repository.default_branch,
        "branches": list(listed.branches),
        "problem": listed.problem,
    }


def _time(written: str) -> str:
    """Converts a git-server timestamp to the API's UTC format. Invalid timestamps occur for damaged repositories and
    become the minimum date."""
    try:
        moment = datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = datetime.min.replace(tzinfo=UTC)
    return timestamp(moment)
