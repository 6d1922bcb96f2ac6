"""A workspace's ports: which listen, which are shared, and whose password opens the others."""

from __future__ import annotations

import asyncio
import base64

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import IDE_PORT, Workspace
from atelier.gateway.aliases import Alias, check_port
from atelier.gateway.port_access import guarded_ports, share_port, shared_ports, unshare_ports

from ..auth.alias_auth import credentials
from ..auth.middleware import Caller
from ..schemas.aliases import OpenPort, SharedPort
from . import containers
from .services import Services


async def ports(services: Services, row: Workspace) -> tuple[list[OpenPort], list[int]]:
    """The ports that programs in the running workspace listen on, except the IDE's port, and all shared ones; both
    sorted."""
    found = await containers.open_ports(services, row)
    shared, guarded = shared_ports(services.reads, row.id), guarded_ports(services.reads, row.id)
    # People need the workspace's password, if it has one, for these ports' own addresses.
    closed = guarded | (found.keys() - shared if services.settings.ports_want_password else set())
    listening: list[OpenPort] = [
        {
            "port": port,
            "reachable": reachable,
            "url": _url(services, row, port),
            "shared": port in shared,
            "passwordRequired": row.password_hash is not None and port in closed,
        }
        for port, reachable in sorted(found.items())
        if port != IDE_PORT
    ]
    return listening, sorted(shared)


async def set_shared(
    services: Services, caller: Caller, project_id: str, port: int, password: str | None, *, shared: bool
) -> SharedPort:
    """Shares the port or ends that. Callers other than the operator need the workspace's password.

    Raises INVALID_WORKSPACE_PASSWORD and TOO_MANY_ATTEMPTS.
    """
    row = services.row(project_id)
    check_port(port)
    operation = "share-port" if shared else "unshare-port"
    try:
        if not caller.operator:
            await _prove_ownership(services, row, password, caller.address)
            services.shares.check(row.id)
            services.shares.count(row.id)
        if shared:
            await asyncio.to_thread(share_port, services.store, row.id, port)
        else:
            await asyncio.to_thread(unshare_ports, services.store, row.id, [port])
        await asyncio.to_thread(services.sync_ports)
    except AtelierError as error:
        services.audit.refuse(caller, operation, error.code, project=row.id, port=port)
        raise
    record = services.audit.write if caller.operator else services.audit.note
    record(caller.name, operation, row.id, "successful", port=port)
    return {"success": True, "projectId": row.id, "port": port, "shared": shared, "url": _url(services, row, port)}


async def admission(services: Services, row: Workspace, authorization: str, address: str) -> int:
    """204 for the workspace's password, 401 for another, 429 for too many wrong ones. The name does not matter."""
    user, _ = credentials(authorization)
    alias = Alias(row.id, row.id, IDE_PORT, user, row.password_hash)
    return await services.alias_auth.admission(alias, authorization, address)


async def _prove_ownership(services: Services, row: Workspace, password: str | None, address: str) -> None:
    if row.password_hash is None or password is None:
        status = 401
    else:
        status = await admission(services, row, basic(password), address)
    if status == 429:
        raise AtelierError(Code.TOO_MANY_ATTEMPTS, Message("too_many.passwords", wait=60), retry_after=60)
    if status != 204:
        wrong, remedy = Message("api.wrong_workspace_password"), Message("api.share_with_password")
        raise AtelierError(Code.INVALID_WORKSPACE_PASSWORD, wrong, remedy=remedy)


def basic(password: str) -> str:
    """An Authorization header without a name."""
    return "Basic " + base64.b64encode(f":{password}".encode(errors="replace")).decode()


def _url(services: Services, row: Workspace, port: int) -> str:
    return services.settings.site.workspace_url(f"{row.id}-{port}")
