"""A workspace's ports: listening and shared ones, and the sign-in for ports that are not shared."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

from atelier.common.errors import AtelierError, Code
from atelier.common.models import IDE_PORT, Workspace
from atelier.gateway.aliases import Alias, check_port
from atelier.gateway.port_access import PASS_SECONDS, guarded_ports, port_pass, share_port, shared_ports, unshare_ports
from fastapi import APIRouter, Body, Header, Path, Request, Response

from ..auth.alias_auth import credentials
from ..auth.middleware import Caller
from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, Services, ServicesDep
from ..schemas.aliases import OpenPort, Ports, SharedPort, SharePort
from ..services import containers

router = APIRouter(route_class=Route, tags=["aliases"])
_SHARE = "/api/projects/{project_id}/ports/{port}/share"
# Where the gateway shows its form, on the port's own host.
_FORM = "/.atelier/sign-in"
# A form of a mebibyte would keep the event loop busy for seconds.
_LARGEST_FORM = 4096
Port = Annotated[int, Path(description="The port.", examples=[3000], ge=1, le=65535)]


@router.get("/api/projects/{project_id}/ports", responses=errors(404, 500, 503))
async def list_ports(project_id: ProjectId, services: ServicesDep) -> Ports:
    """The ports that programs in the running workspace listen on, except the IDE's port. ``ports`` are the numbers,
    sorted; ``listening`` has an entry with more for each. A port that is open on localhost only is not ``reachable``.
    ``shared`` lists all shared ports, in use or not."""
    row = services.row(project_id)
    services.require_docker()
    found = await services.seat_threads.ask(("ports", row.id), containers.open_ports, services.settings, row)
    shared = shared_ports(services.reads, row.id)
    listening: list[OpenPort] = [
        {
            "port": port,
            "reachable": reachable,
            "url": services.settings.site.workspace_url(f"{row.id}-{port}"),
            "shared": port in shared,
            "passwordRequired": _wants_password(services, row, port),
        }
        for port, reachable in sorted(found.items())
        if port != IDE_PORT
    ]
    ports = [entry["port"] for entry in listening]
    return {"success": True, "ports": ports, "listening": listening, "shared": sorted(shared)}


@router.post(_SHARE, responses=errors(401, 404, 409, 429, 500))
async def share(
    project_id: ProjectId,
    port: Port,
    services: ServicesDep,
    caller: CurrentCaller,
    body: Annotated[SharePort | None, Body()] = None,
) -> SharedPort:
    """Opens the port's address to everybody who knows it, including other seats. Callers other than the operator send
    the workspace's password."""
    return await _set_shared(services, caller, project_id, port, body, shared=True)


@router.delete(_SHARE, responses=errors(401, 404, 429, 500))
async def unshare(
    project_id: ProjectId,
    port: Port,
    services: ServicesDep,
    caller: CurrentCaller,
    body: Annotated[SharePort | None, Body()] = None,
) -> SharedPort:
    """Ends the sharing: other seats get 403, and people need the workspace's password."""
    return await _set_shared(services, caller, project_id, port, body, shared=False)


# The gateway asks here: by the API's own socket, so without the header that tells of a caller from elsewhere.
@router.get("/api/ports/{project_id}/admission", include_in_schema=False)
async def admission(
    project_id: str,
    services: ServicesDep,
    authorization: Annotated[str, Header()] = "",
    x_alias_caller: Annotated[str, Header()] = "",
) -> Response:
    """204 where the Authorization header has the workspace's password, with any name."""
    row = services.row(project_id)
    return Response(status_code=await _check(services, row, authorization, x_alias_caller))


# The gateway sends the form of /.atelier/sign-in here, from any host <id>-<port>.<domain>.
@router.post("/api/ports/{project_id}-{port}/sign-in", include_in_schema=False)
async def sign_in(
    project_id: str, port: Port, request: Request, services: ServicesDep, caller: CurrentCaller
) -> Response:
    """Answers the right password with a pass for this port as a cookie, and redirects to the requested address."""
    row = services.row(project_id)
    status = await _check(services, row, _basic(password_in(await request.body())), caller.address)
    target = _target(request.headers.get("referer", ""))
    proof = port_pass(row, port)
    if status == 204 and proof is not None:
        answer = Response(status_code=303, headers={"Location": target, "Cache-Control": "no-store"})
        is_https = services.settings.site.protocol == "https"
        answer.set_cookie(
            f"{'__Host-' if is_https else ''}atelier-port",
            proof,
            max_age=PASS_SECONDS,
            path="/",
            secure=is_https,
            httponly=True,
            samesite="lax",
        )
        return answer
    problem = "later" if status == 429 else "wrong"
    return Response(status_code=303, headers={"Location": f"{_FORM}?{problem}=1&to={quote(target, safe='')}"})


async def _set_shared(
    services: Services, caller: Caller, project_id: str, port: int, body: SharePort | None, *, shared: bool
) -> SharedPort:
    row = services.row(project_id)
    check_port(port)
    operation = "share-port" if shared else "unshare-port"
    try:
        if not caller.operator:
            await _prove_ownership(services, row, (body or SharePort()).password, caller.address)
            services.shares.check(row.id)
            services.shares.count(row.id)
        if shared:
            await asyncio.to_thread(share_port, services.registry, row.id, port)
        else:
            await asyncio.to_thread(unshare_ports, services.registry, row.id, [port])
        await asyncio.to_thread(services.sync_ports)
    except AtelierError as error:
        services.audit.refuse(caller, operation, error.code, project=row.id, port=port)
        raise
    if caller.operator:
        services.audit.write(caller.name, operation, row.id, "successful", port=port)
    else:
        services.audit.note(caller.name, operation, row.id, "successful", port=port)
    url = services.settings.site.workspace_url(f"{row.id}-{port}")
    return {"success": True, "projectId": row.id, "port": port, "shared": shared, "url": url}


async def _prove_ownership(services: Services, row: Workspace, password: str | None, address: str) -> None:
    """Raises INVALID_WORKSPACE_PASSWORD or TOO_MANY_ATTEMPTS for a caller who does not know the password."""
    if row.password_hash is None or password is None:
        status = 401
    else:
        status = await _check(services, row, _basic(password), address)
    if status == 429:
        raise AtelierError(Code.TOO_MANY_ATTEMPTS, "Too many wrong passwords; wait a minute.", retry_after=60)
    if status != 204:
        raise AtelierError(
            Code.INVALID_WORKSPACE_PASSWORD,
            "Invalid password for password-protected workspace",
            remedy="Send the workspace's password as password. If it has none, only the operator can share its ports.",
        )


async def _check(services: Services, row: Workspace, authorization: str, caller: str) -> int:
    """204 for the workspace's password, 401 for another, 429 for too many wrong ones. The name does not matter."""
    user, _ = credentials(authorization)
    door = Alias(row.id, row.id, IDE_PORT, user, row.password_hash)
    try:
        return await services.hashing.run(lambda: services.alias_guard.admission(door, authorization, caller))
    except AtelierError:
        return 429


def _wants_password(services: Services, row: Workspace, port: int) -> bool:
    """Whether people need the workspace's password for the port's own address."""
    if row.password_hash is None:
        return False
    if port in guarded_ports(services.reads, row.id):
        return True
    return services.settings.ports_want_password and port not in shared_ports(services.reads, row.id)


def password_in(form: bytes) -> str:
    """The password in the form's body; empty for an invalid form."""
    if len(form) > _LARGEST_FORM:
        return ""
    return parse_qs(form.decode(errors="replace"), keep_blank_values=True).get("password", [""])[0]


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f":{password}".encode(errors="replace")).decode()


def _target(referer: str) -> str:
    """The path to return to, on the port's own host; the host in the header is ignored."""
    try:
        came_from = urlsplit(referer)
        if came_from.path == _FORM:
            came_from = urlsplit(parse_qs(came_from.query).get("to", ["/"])[0])
    except ValueError:
        return "/"
    path = came_from.path + (f"?{came_from.query}" if came_from.query else "")
    is_plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if is_plain and path.startswith("/") and not path.startswith("//") else "/"
