"""A workspace's ports: listening and shared ones, and the sign-in for ports that are not shared."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

from atelier.gateway.port_access import PASS_SECONDS, port_pass
from fastapi import APIRouter, Header, Path, Request, Response

from ..auth.browsers import set_cookie
from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.aliases import Ports, SharedPort, SharePort
from ..services import ports

router = APIRouter(route_class=Route, tags=["aliases"])
_SHARE = "/api/projects/{project_id}/ports/{port}/share"
# The path of the gateway's form, on the port's own host.
_FORM = "/.atelier/sign-in"
# A form of a mebibyte would keep the event loop busy for seconds.
_LARGEST_FORM = 4096
Port = Annotated[int, Path(description="The port.", examples=[3000], ge=1, le=65535)]


@router.get("/api/projects/{project_id}/ports", responses=errors(404, 500, 503))
async def list_ports(project_id: ProjectId, services: ServicesDep) -> Ports:
    """The ports that programs in the running workspace listen on, except the IDE's port. ``ports`` are the numbers,
    sorted; ``listening`` has an entry with more for each. A port that is open on localhost only is not ``reachable``.
    ``shared`` lists all shared ports, in use or not."""
    listening, shared = await ports.ports(services, services.row(project_id))
    numbers = [entry["port"] for entry in listening]
    return {"success": True, "ports": numbers, "listening": listening, "shared": shared}


@router.post(_SHARE, responses=errors(401, 404, 409, 429, 500))
async def share(
    project_id: ProjectId, port: Port, services: ServicesDep, caller: CurrentCaller, body: SharePort | None = None
) -> SharedPort:
    """Opens the port's address to everybody who knows it, including other seats. Callers other than the operator send
    the workspace's password."""
    return await ports.set_shared(services, caller, project_id, port, body.password if body else None, shared=True)


@router.delete(_SHARE, responses=errors(401, 404, 429, 500))
async def unshare(
    project_id: ProjectId, port: Port, services: ServicesDep, caller: CurrentCaller, body: SharePort | None = None
) -> SharedPort:
    """Ends the sharing: other seats get 403, and people need the workspace's password."""
    return await ports.set_shared(services, caller, project_id, port, body.password if body else None, shared=False)


# For the gateway, over the API's own socket, so without the header that marks callers from elsewhere.
@router.get("/api/ports/{project_id}/admission", include_in_schema=False)
async def admission(
    project_id: str,
    services: ServicesDep,
    authorization: Annotated[str, Header()] = "",
    x_alias_caller: Annotated[str, Header()] = "",
) -> Response:
    """204 where the Authorization header has the workspace's password, with any name."""
    row = services.row(project_id)
    return Response(status_code=await ports.admission(services, row, authorization, x_alias_caller))


# The gateway sends the form of /.atelier/sign-in here, from any host <id>-<port>.<domain>.
@router.post("/api/ports/{project_id}-{port}/sign-in", include_in_schema=False)
async def sign_in(
    project_id: str, port: Port, request: Request, services: ServicesDep, caller: CurrentCaller
) -> Response:
    """Answers the right password with a pass for this port as a cookie, and redirects to the requested address."""
    row = services.row(project_id)
    status = await ports.admission(services, row, ports.basic(password_in(await request.body())), caller.address)
    target = _target(request.headers.get("referer", ""))
    proof = port_pass(row, port)
    if status == 204 and proof is not None:
        answer = Response(status_code=303, headers={"Location": target, "Cache-Control": "no-store"})
        set_cookie(answer, "port", proof, PASS_SECONDS, services.settings.site.protocol, lax=True)
        return answer
    problem = "later" if status == 429 else "wrong"
    return Response(status_code=303, headers={"Location": f"{_FORM}?{problem}=1&to={quote(target, safe='')}"})


def password_in(form: bytes) -> str:
    """The password in the form's body; empty for an invalid form."""
    if len(form) > _LARGEST_FORM:
        return ""
    return parse_qs(form.decode(errors="replace"), keep_blank_values=True).get("password", [""])[0]


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
