"""The machines, and moving a workspace from one to another."""

from __future__ import annotations

import asyncio

from atelier.common.models import Status
from fastapi import APIRouter

from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..runner.operations import DRAIN, seats_of
from ..schemas.common import Done
from ..schemas.jobs import JobBegun
from ..schemas.nodes import ChangeNode, MovedProject, MoveProject, Nodes
from ..services.jobs import run_job, start_job
from ..services.system import nodes, set_availability

router = APIRouter(route_class=Route, tags=["nodes"])


@router.get("/api/nodes", responses=errors(500, 503))
async def list_nodes(services: ServicesDep) -> Nodes:
    """The machines that workspaces run on, the controller first."""
    return {"success": True, "nodes": await nodes(services)}


@router.put("/api/nodes/{name}", responses=errors(404, 500, 503))
async def put_node(name: str, body: ChangeNode, services: ServicesDep, caller: CurrentCaller) -> Done:
    """Lets the machine take new workspaces, or not; those it has go on."""
    await asyncio.to_thread(set_availability, services.engines, name, body.availability)
    services.audit.write(caller.name, f"node {body.availability}", None, "successful", node=name)
    return {"success": True, "message": "Node updated successfully"}


@router.post("/api/nodes/{name}/drain", status_code=202, responses=errors(404, 500, 503))
async def drain_node(name: str, services: ServicesDep, caller: CurrentCaller) -> JobBegun:
    """Pauses the machine and starts moving its workspaces to the others, one after the other. One that cannot be moved
    stays, with the reason in the job; draining again moves it."""
    services.require_docker()
    await asyncio.to_thread(set_availability, services.engines, name, "paused")
    ids = [row.id for row in services.reads.all(name) if row.status is not Status.CREATING]
    job, _ = await start_job(services, caller, DRAIN, ids, {"node_name": name})
    return {"success": True, "message": f"Moving {len(ids)} workspaces", "jobId": job.id}


@router.post("/api/projects/{project_id}/move", responses=errors(404, 409, 500, 503))
async def move_project(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: MoveProject | None = None
) -> MovedProject:
    """Moves the workspace to another machine, with its files, address, password, claim, aliases and branch. It is
    stopped while its files travel. When its machine is lost, it can begin elsewhere from its last checkpoint, and the
    answer says what was lost. It answers when that is done."""
    row = services.row(project_id)
    wanted = body or MoveProject()
    named = {"move_to": wanted.node, "move_from": wanted.origin}
    variables = {name: value for name, value in named.items() if value}
    ended = await run_job(services, caller, "move", [row.id], variables)
    seat = next(iter(seats_of(ended, "workspace_move")), {})
    return {
        "success": True,
        "message": "Workspace moved successfully",
        "project": services.presenter.project(services.row(row.id)),
        "origin": seat.get("origin"),
        "checkpointTakenAt": seat.get("checkpoint"),
        "lost": seat.get("lost"),
    }
