"""Workspaces: list, look at, create, change, delete; checkpoints, and beginning again from one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated

from atelier.common.errors import AtelierError, Code, invalid
from atelier.common.messages import Message
from atelier.common.models import Limits, Status, Workspace
from atelier.common.passwords import hash_password, verify_password
from atelier.common.validation import check_limits, check_proxy_mode
from atelier.database.workspace_store import new_id
from atelier.egress.clients import write_client_map
from fastapi import APIRouter, Header, HTTPException, Request, Response

from ..core.openapi import errors
from ..core.rate_limit import Limiter
from ..core.responses import JSON, Route, job_address
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..runner.operations import raise_for
from ..schemas.common import Done, DoneOnProject
from ..schemas.projects import (
    ChangeGroup,
    ChangeNotes,
    ChangePassword,
    Checkpoints,
    CheckpointTaken,
    CloneBegun,
    CloneProject,
    CloneSeat,
    CreatedProject,
    CreateProject,
    DiskUsage,
    Extended,
    ExtendProject,
    Groups,
    NotesAnswer,
    OneProject,
    PasswordChanged,
    ProjectList,
    Rename,
    StartedProject,
    UpgradeBegun,
    UpgradedProject,
    UpgradeProjects,
    WorkspacePassword,
)
from ..services import containers
from ..services.jobs import run_job, start_job
from ..services.presenter import UNGROUPED
from ..services.projects import (
    checkpoint_workspace,
    extend_workspace,
    groups,
    reset_workspace,
    start_workspace,
    upgrade_several,
    upgrade_workspace,
)
from ..services.services import Services

router = APIRouter(route_class=Route, prefix="/api/projects", tags=["projects"])

_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}


@router.get("/", response_model=ProjectList, responses=errors())
@router.get("", response_model=ProjectList, include_in_schema=False)
async def list_projects(request: Request, services: ServicesDep, node: str | None = None) -> Response:
    """All workspaces with their current status, or those of one machine."""
    return JSON(request.app.state.project_list.body(services, node))


@router.post("/upgrade", status_code=202, responses=errors(404, 503))
async def upgrade_projects(body: UpgradeProjects, services: ServicesDep, caller: CurrentCaller) -> UpgradeBegun:
    """Starts giving several workspaces their template's present image, as POST .../upgrade does for one. Those that
    have it are left alone; one that does not come up goes back to its old container, with the reason in the job."""
    job = await upgrade_several(services, caller, body)
    ids = list(job.project_ids)
    return {"success": True, "message": f"Upgrading {len(ids)} workspaces", "jobId": job.id, "projectIds": ids}


@router.get("/groups", responses=errors())
async def list_groups(services: ServicesDep) -> Groups:
    """All group names in use, sorted; a workspace without one is in Uncategorized."""
    return {"success": True, "groups": groups(services)}


@router.post(
    "/create",
    response_model=CreatedProject,
    status_code=201,
    responses={202: {"model": CreatedProject, "description": "Asked for."}, **errors(409, 500, 503)},
)
async def create_project(
    body: CreateProject, services: ServicesDep, caller: CurrentCaller, prefer: Annotated[str | None, Header()] = None
) -> Response:
    """Creates a workspace, and answers when its IDE does. With ``Prefer: respond-async`` it answers 202 at once, with
    the job's address in ``Location``."""
    id, usual = new_id(), Limits()
    order = Workspace(
        id=id,
        name=body.project_name,
        template=body.template,
        limits=check_limits(
            body.memory_limit or usual.memory, body.cpu_cores or usual.cpus, services.settings.site.quotas
        ),
        proxy_mode=check_proxy_mode(body.mode, services.settings.site.networks),
        group=body.group,
        git_url=body.git_url,
        notes=body.notes or "",
        password_hash=await _hashed(body.password),
        node_labels=await asyncio.to_thread(services.engines.node_labels, body.nodes or ()),
    )
    with_repository = bool(body.create_git_repo) and services.settings.site.git is not None
    variables = {"workspace_git_repo": True} if with_repository else {}
    machines = await asyncio.to_thread(services.engines.machines)
    services.require_docker()
    reserve = partial(services.store.reserve, [order], machines)
    job, _ = await start_job(services, caller, "create", [id], variables, reserve=reserve, secrets=body.secrets)
    if prefer is not None and "respond-async" in prefer.lower():
        return JSON(_created(services, body, id), 202, headers=job_address(job.id))
    raise_for(await services.queue.first_result(job.id))
    return JSON(_created(services, body, id), 201)


@router.api_route("/create", methods=sorted(_METHODS - {"POST"}), include_in_schema=False)
@router.api_route("/groups", methods=sorted(_METHODS - {"GET"}), include_in_schema=False)
async def no_project(request: Request) -> Response:
    """These two are no ids."""
    allowed = "POST" if request.url.path.endswith("/create") else "GET"
    raise HTTPException(405, headers={"Allow": allowed})


@router.get("/{project_id}", responses=errors(404))
async def get_project(project_id: ProjectId, services: ServicesDep) -> OneProject:
    """Returns a workspace, with its container's state and the figures of the last sample."""
    return {"success": True, "project": services.presenter.detailed(services.row(project_id))}


@router.delete("/{project_id}", responses=errors(404, 409, 429, 500, 503))
async def delete_project(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: WorkspacePassword | None = None
) -> DoneOnProject:
    """Removes the workspace with all its files. A protected one wants its password."""
    row = services.row(project_id)
    await _check_password(services, caller, "delete", row, body.password if body else None)
    await run_job(services, caller, "delete", [row.id])
    services.wrong_passwords.forget(row.id)
    return {"success": True, "message": "Project deleted successfully", "projectId": row.id}


@router.post("/{project_id}/start", responses=errors(404, 409, 429, 500, 503))
async def start_project(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: WorkspacePassword | None = None
) -> StartedProject:
    """Starts a stopped workspace, and answers when its IDE does. One that runs is left alone."""
    row = services.row(project_id)
    if body is not None and body.password is not None:
        await _check_password(services, caller, "start", row, body.password)
    return await start_workspace(services, caller, row)


@router.post("/{project_id}/stop", responses=errors(404, 409, 429, 500, 503))
async def stop_project(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: WorkspacePassword | None = None
) -> DoneOnProject:
    """Stops a workspace; its files stay. A protected one wants its password. One that is stopped stays so; if it was
    stopped for being idle, a visit does not start it any more."""
    row = services.row(project_id)
    await _check_password(services, caller, "stop", row, body.password if body else None)
    # One without a reason was stopped by an outage, and would be started again.
    would_start = row.stop_reason is None or row.stop_reason in services.settings.wake_on_visit
    if services.presenter.status(row) is not Status.STOPPED or would_start:
        await run_job(services, caller, "stop", [row.id])
    return {"success": True, "message": "Workspace stopped successfully", "projectId": row.id}


@router.put("/{project_id}/password", responses=errors(404, 409, 429, 500, 503))
async def change_password(
    project_id: ProjectId, body: ChangePassword, services: ServicesDep, caller: CurrentCaller
) -> PasswordChanged:
    """Sets another password, or removes it. A running IDE takes it at once."""
    row = services.row(project_id)
    if (body.new_password is None) is not bool(body.remove_password):
        raise invalid("input.exactly_one", "newPassword", names="newPassword, removePassword: true")
    await _check_password(services, caller, "password", row, body.current_password)
    password_hash = await _hashed(body.new_password)
    variables = {"workspace_password_hash": password_hash} if password_hash else {"workspace_remove_password": True}
    await run_job(services, caller, "password", [row.id], variables)
    return {"success": True, "message": "Password updated successfully", "passwordProtected": bool(password_hash)}


@router.post("/{project_id}/extend", responses=errors(404))
async def extend_project(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: ExtendProject | None = None
) -> Extended:
    """Protects the workspace for the given minutes from the stop for idleness or at the workshop's end."""
    return await extend_workspace(services, caller, services.row(project_id), body)


@router.post("/{project_id}/clone", status_code=202, responses=errors(404, 500, 503))
async def clone_project(
    project_id: ProjectId, body: CloneProject, services: ServicesDep, caller: CurrentCaller
) -> CloneBegun:
    """Starts the creation of clones, all reserved or none, and answers at once. The job has the progress."""
    source = services.row(project_id)
    if source.status is Status.CREATING:
        raise invalid("api.source_being_made", "projectId")
    labels = await asyncio.to_thread(services.engines.node_labels, body.nodes or (), source.node_labels)
    source = source._replace(node_labels=labels)
    password_hash = await _hashed(body.password)
    ids = [new_id() for _ in range(body.count)]
    hashes = [password_hash] * body.count
    machines = await asyncio.to_thread(services.engines.machines)
    services.require_docker()
    reserve = partial(services.store.reserve_clones, source, None, hashes, source.owner, machines=machines, ids=ids)
    variables = {"source_id": source.id}
    job, _ = await start_job(services, caller, "clone", ids, variables, reserve=reserve, source=source.id)
    return {
        "success": True,
        "message": f'Cloning {body.count} workspaces from "{source.name}"',
        "sourceProjectId": source.id,
        "sourceProjectName": source.name,
        "clones": [_seat(services.row(id)) for id in ids],
        "totalCount": body.count,
        "jobId": job.id,
    }


@router.get("/{project_id}/disk-usage", responses=errors(404, 500, 503))
async def get_disk_usage(project_id: ProjectId, services: ServicesDep) -> DiskUsage:
    """Bytes of the workspace's own layer, and with its image."""
    return {"success": True, "diskUsage": await containers.disk_usage(services, services.row(project_id))}


@router.get("/{project_id}/notes", responses=errors(404))
async def get_notes(project_id: ProjectId, services: ServicesDep) -> NotesAnswer:
    """The notes that somebody wrote on the workspace."""
    return {"success": True, "notes": services.row(project_id).notes}


@router.put("/{project_id}/notes", responses=errors(404))
async def put_notes(project_id: ProjectId, body: ChangeNotes, services: ServicesDep, caller: CurrentCaller) -> Done:
    """Replaces the notes, at most 10,240 bytes of UTF-8."""
    await _update(services, caller, "notes", services.row(project_id), notes=body.notes)
    return {"success": True, "message": "Notes updated successfully"}


@router.put("/{project_id}/name", responses=errors(404))
async def rename_project(project_id: ProjectId, body: Rename, services: ServicesDep, caller: CurrentCaller) -> Done:
    """Gives the workspace another display name, which no other has; its address stays."""
    await _update(services, caller, "rename", services.row(project_id), name=body.name)
    return {"success": True, "message": "Project name updated successfully"}


@router.put("/{project_id}/group", responses=errors(404, 500))
async def put_group(project_id: ProjectId, body: ChangeGroup, services: ServicesDep, caller: CurrentCaller) -> Done:
    """Puts the workspace into a group; null or Uncategorized takes it out of its group."""
    group = None if body.group == UNGROUPED else body.group
    announce = partial(write_client_map, services.settings.site, services.store, services.locks)
    await _update(services, caller, "group", services.row(project_id), announce, group_name=group)
    return {"success": True, "message": "Project group updated successfully"}


@router.get("/{project_id}/checkpoints", responses=errors(404, 500, 503))
async def list_checkpoints(project_id: ProjectId, services: ServicesDep) -> Checkpoints:
    """The workspace's checkpoints, newest last. Five are kept."""
    return {"success": True, "checkpoints": await containers.checkpoints(services, services.row(project_id))}


@router.post("/{project_id}/checkpoint", responses=errors(404, 409, 500, 503))
async def take_checkpoint(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> CheckpointTaken:
    """Takes a checkpoint, which later resets begin from; the oldest beyond five goes. Secrets in known places (keys,
    tokens, shell history) are not in it."""
    return await checkpoint_workspace(services, caller, services.row(project_id))


@router.post("/{project_id}/reset", responses=errors(404, 409, 500, 503))
async def reset_project(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> StartedProject:
    """Resets the workspace to its last checkpoint, or else its base: same id, address, claim and password. The old
    container is kept for a while, stopped. It answers when the IDE does."""
    return await reset_workspace(services, caller, services.row(project_id))


@router.post("/{project_id}/upgrade", responses=errors(404, 409, 500, 503))
async def upgrade_project(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> UpgradedProject:
    """Gives the workspace its template's present image: same id, address, claim, password, /workspace and home folder.
    Everything else that was changed in its container is lost. The old container is kept for a while, stopped; if the
    new one does not come up, it is put back. It answers when the IDE does; a stopped workspace stays stopped."""
    return await upgrade_workspace(services, caller, services.row(project_id))


async def _update(
    services: Services,
    caller: CurrentCaller,
    what: str,
    row: Workspace,
    announce: Callable[[], None] | None = None,
    **values: str | None,
) -> None:
    """Sets columns of the row and calls ``announce``; if that fails, the change is rolled back."""

    def write() -> None:
        with services.store.transaction():
            services.store.update(row.id, **values)
            if announce is not None:
                announce()

    await asyncio.to_thread(write)
    services.audit.write(caller.name, what, row.id, "successful")


async def _check_password(
    services: Services, caller: CurrentCaller, operation: str, row: Workspace, password: str | None
) -> None:
    if not row.password_protected:
        return
    try:
        await asyncio.to_thread(check_password, row, password, services.wrong_passwords)
    except AtelierError as error:
        services.audit.write(caller.name, operation, row.id, f"refused: {error.code}")
        raise


def check_password(row: Workspace, password: str | None, wrong: Limiter) -> None:
    """Returns when the workspace is open or the password is right. argon2 takes 20 ms: call it in a thread.

    Raises INVALID_WORKSPACE_PASSWORD, and TOO_MANY_ATTEMPTS while ``wrong`` allows no more attempts for the workspace.
    """
    if row.password_hash is None:
        return
    known = row.password_hash
    if password is None:
        wrong.check(row.id)
    elif wrong.attempt(row.id, lambda: verify_password(known, password)):
        return
    raise AtelierError(Code.INVALID_WORKSPACE_PASSWORD, Message("api.wrong_workspace_password"))


async def _hashed(password: str | None) -> str | None:
    return await asyncio.to_thread(hash_password, password) if password is not None else None


def _created(services: Services, body: CreateProject, id: str) -> CreatedProject:
    answer: CreatedProject = {"success": True, "project": services.presenter.project(services.row(id))}
    if body.password is not None:
        answer["password"] = body.password
    if answer["project"]["warnings"]:
        answer["warnings"] = answer["project"]["warnings"]
    elif body.create_git_repo and services.settings.site.git is None:
        answer["warnings"] = [Message("no_git_server_for", name=body.project_name)]
    return answer


def _seat(row: Workspace) -> CloneSeat:
    return {"projectId": row.id, "projectName": row.name, "status": row.status}
