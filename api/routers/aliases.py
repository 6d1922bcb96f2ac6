"""Readable subdomains for ports of a workspace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from atelier.common.passwords import hash_password
from atelier.gateway.aliases import Alias, check_subdomain, find_alias, get_alias, put_alias
from fastapi import APIRouter, Header, Path, Response

from ..auth.middleware import Caller
from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.aliases import AliasList, BasicAuth, ChangeAlias, CreateAlias, OneAlias
from ..schemas.common import DoneOnProject
from ..services.jobs import run_job
from ..services.presenter import alias_view
from ..services.services import Services

router = APIRouter(route_class=Route, tags=["aliases"])
_ALIASES = "/api/projects/{project_id}/aliases"
_ONE = f"{_ALIASES}/{{subdomain}}"
Subdomain = Annotated[str, Path(description="The alias's name.", examples=["demo"])]


@router.get(_ALIASES, responses=errors(404))
async def list_aliases(project_id: ProjectId, services: ServicesDep) -> AliasList:
    """The workspace's aliases, by name."""
    return {"success": True, "aliases": services.presenter.project(services.row(project_id))["aliases"]}


@router.post(_ALIASES, status_code=201, responses=errors(404, 409, 422, 500, 503))
async def create_alias(
    project_id: ProjectId, body: CreateAlias, services: ServicesDep, caller: CurrentCaller
) -> OneAlias:
    """Gives a port of the workspace a subdomain that no other alias has. A reserved word is refused with 422."""
    row = services.row(project_id)
    wanted = await _with_auth(Alias(check_subdomain(body.subdomain), row.id, body.port, None, None), body.basic_auth)
    return await _put(services, caller, wanted, new=True)


@router.put(_ONE, responses=errors(404, 409, 500, 503))
async def change_alias(
    project_id: ProjectId, subdomain: Subdomain, body: ChangeAlias, services: ServicesDep, caller: CurrentCaller
) -> OneAlias:
    """Changes the alias's port or password."""
    row = services.row(project_id)
    present = get_alias(services.reads, row.id, subdomain)
    wanted = replace(present, port=body.port or present.port)
    if "basic_auth" in body.model_fields_set:
        wanted = await _with_auth(wanted, body.basic_auth)
    return await _put(services, caller, wanted)


@router.delete(_ONE, responses=errors(404, 409, 500, 503))
async def delete_alias(
    project_id: ProjectId, subdomain: Subdomain, services: ServicesDep, caller: CurrentCaller
) -> DoneOnProject:
    """Takes the alias away; the port keeps its address by the workspace's id."""
    row = services.row(project_id)
    present = get_alias(services.reads, row.id, subdomain)
    variables = {"alias_subdomain": present.subdomain, "alias_state": "absent"}
    await run_job(services, caller, "alias", [row.id], variables)
    return {"success": True, "message": "Alias deleted successfully", "projectId": row.id}


# For the gateway, over the API's own socket, so without the header that marks callers from elsewhere.
@router.get("/api/aliases/{subdomain}/admission", include_in_schema=False)
async def admission(
    subdomain: str,
    services: ServicesDep,
    authorization: Annotated[str, Header()] = "",
    x_alias_caller: Annotated[str, Header()] = "",
) -> Response:
    """204 where the Authorization header has the alias's name and password."""
    alias = find_alias(services.reads, subdomain)
    if alias is None:
        return Response(status_code=404)
    return Response(status_code=await services.alias_auth.admission(alias, authorization, x_alias_caller))


async def _with_auth(alias: Alias, auth: BasicAuth | None) -> Alias:
    if auth is None:
        return replace(alias, user=None, password_hash=None)
    return replace(alias, user=auth.user, password_hash=await asyncio.to_thread(hash_password, auth.password))


async def _put(services: Services, caller: Caller, wanted: Alias, *, new: bool = False) -> OneAlias:
    variables: dict[str, Any] = {"alias_subdomain": wanted.subdomain, "alias_port": wanted.port}
    if wanted.user is not None:
        variables |= {"alias_user": wanted.user, "alias_password_hash": wanted.password_hash}
    # The row is written here, in one transaction; the playbook finds it in its final state and updates the gateway.
    reserve = partial(put_alias, services.store, wanted, new=new)
    await run_job(services, caller, "alias", [wanted.workspace_id], variables, reserve)
    made = get_alias(services.reads, wanted.workspace_id, wanted.subdomain)
    return {"success": True, "alias": alias_view(services.settings.site, made)}
