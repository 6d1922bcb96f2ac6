"""The git server's repositories: read from the server, created by a playbook."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.timestamps import timestamp
from atelier.git.client import open_forge
from atelier.git.repository import Listed, RepositorySpec, check_repository, with_branches

from ..auth.middleware import Caller
from ..runner.operations import raise_for
from ..schemas.git import Repository
from .jobs import start_job
from .services import Services


async def repositories(services: Services) -> list[Repository]:
    """All repositories, by name, with their branches. A damaged one has a `problem` instead."""
    forge = open_forge(services.settings.site)
    found = await asyncio.to_thread(forge.repositories)
    looked_at = await asyncio.gather(*(asyncio.to_thread(with_branches, forge, repository) for repository in found))
    return [_view(listed) for listed in looked_at if listed]


async def create_repository(services: Services, caller: Caller, wanted: RepositorySpec) -> Repository:
    """Raises REPOSITORY_EXISTS for a name that is in use."""
    check_repository(wanted)
    forge = open_forge(services.settings.site)
    variables = {
        "repository_name": wanted.name,
        "repository_description": wanted.description or "",
        "repository_private": bool(wanted.private),
    }
    job, _ = await start_job(services, caller, "repository", [], variables)
    raise_for(await services.queue.first_result(job.id))
    made = await asyncio.to_thread(forge.repository, wanted.name)
    if made is None:
        raise AtelierError(
            Code.GIT_REPO_CREATE_FAILED, Message("api.repository_deleted", name=wanted.name), field="name"
        )
    return _view(Listed(made))


def _view(listed: Listed) -> Repository:
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
