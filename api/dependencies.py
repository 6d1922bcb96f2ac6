"""Dependencies of routes: the services, and the caller."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from .auth.middleware import Caller
from .services.services import Services


# Both are coroutines: a plain function would be sent to another thread for each request.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


ServicesDep = Annotated[Services, Depends(_services)]
CurrentCaller = Annotated[Caller, Depends(_caller)]
ProjectId = Annotated[str, Path(description="The workspace's id.", examples=["abc123def456"])]
JobId = Annotated[str, Path(description="The job's id.", examples=["0f3c9a1b77de"])]
