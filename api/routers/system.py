"""The platform itself: health, configuration, limits, figures, clean-up, and the events for open pages."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Annotated, cast

import psutil
from atelier.common.models import Status
from atelier.database.workspace_store import now
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sse_starlette import EventSourceResponse

from ..background.metrics import attention
from ..core.formatting import duration, size
from ..core.openapi import STREAM, errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ServicesDep
from ..schemas.system import Attention, AuditEntries, Cleanup, Config, FlatConfiguration, Health, Limits, Stats
from ..services.jobs import run_job
from ..services.system import configuration

router = APIRouter(route_class=Route, tags=["system"])


@router.get("/api/health", responses=errors())
async def health(services: ServicesDep) -> Health:
    """200 also while Docker does not answer, which is then said."""
    answer: Health = {
        "status": "ok",
        "timestamp": now(),
        "version": services.settings.api_version,
        "uptime": duration(time.monotonic() - services.started),
    }
    if not services.watcher.available:
        answer["docker"] = "unavailable"
    return answer


@router.get("/api/limits", responses=errors())
async def limits(services: ServicesDep) -> Limits:
    """Returns how many workspaces may run, and the resources that one may have."""
    quotas = services.settings.site.quotas
    return {
        "maxConcurrentWorkspaces": quotas.max_concurrent_workspaces,
        "cpuPerWorkspace": quotas.cpu_per_workspace,
        "memoryPerWorkspaceMB": quotas.memory_per_workspace_mb,
        "enableResourceLimits": quotas.enable_resource_limits,
    }


@router.get("/api/config", responses=errors())
async def config(services: ServicesDep) -> Config:
    """Returns the configuration for clients: features, limits, the git server. The flat keys are at the top level and
    in ``config``, because clients read them in both places."""
    found = await configuration(services)
    flat = cast(
        "FlatConfiguration", {key: value for key, value in found.items() if key in FlatConfiguration.__annotations__}
    )
    return {"success": True, **flat, "config": found}


@router.get("/api/workspace/stats", responses=errors())
async def stats(services: ServicesDep) -> Stats:
    """Returns the number of workspaces by status, and the host's resources and usage, from the last sample."""
    rows = services.reads.all()
    statuses = [services.presenter.status(row) for row in rows]
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(services.settings.site.state_dir)
    return {
        "success": True,
        "stats": {
            "totalWorkspaces": len(rows),
            "runningWorkspaces": statuses.count(Status.RUNNING),
            "stoppedWorkspaces": statuses.count(Status.STOPPED),
            "errorWorkspaces": statuses.count(Status.ERROR),
            "creatingWorkspaces": statuses.count(Status.CREATING),
            "totalUsers": len({row.owner for row in rows}),
            "systemResources": {
                "totalMemory": size(memory.total),
                "usedMemory": size(memory.total - memory.available),
                "totalCPU": f"{services.sampler.cores} cores",
                "usedCPU": f"{services.sampler.host_cpu:.1f} cores",
                "diskUsage": f"{size(disk.used)} / {size(disk.total)}",
            },
        },
    }


@router.post("/api/workspace/cleanup", responses=errors(409, 500, 503))
async def cleanup(services: ServicesDep, caller: CurrentCaller) -> Cleanup:
    """Drops the rows whose container is gone."""
    services.require_docker()
    dropped = [
        row for row in services.reads.all() if row.status is not Status.CREATING and services.watcher.is_gone(row.id)
    ]
    # Also removes their routes and configuration volumes.
    await asyncio.gather(*(run_job(services, caller, "delete", [row.id]) for row in dropped))
    return {"success": True, "message": f"{len(dropped)} workspaces without a container removed", "count": len(dropped)}


@router.get("/api/audit", responses=errors())
async def audit(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> AuditEntries:
    """The newest entries of the audit log, newest first. At most a quarter are refusals of strangers if there are
    enough changes; ``count`` is the number of equal refusals within a minute."""
    return {"success": True, "entries": await asyncio.to_thread(services.audit.newest, limit)}


@router.get("/api/attention", responses=errors())
async def needs_attention(services: ServicesDep) -> Attention:
    """Returns what an operator must act on. Prometheus has the same conditions in docs/monitoring/atelier.rules.yml."""
    return attention(services)


@router.get("/api/events", response_class=EventSourceResponse, responses={**STREAM, **errors(429)})
async def events(request: Request, services: ServicesDep, caller: CurrentCaller) -> Response:
    """Sends an event named after each topic (``workspaces``, ``jobs``, ``claims``) at the beginning and whenever the
    topic changed, without data: request what you show."""
    return services.streams.answer(caller.address, request.app.state.feed.follow())


@router.get("/metrics", response_class=PlainTextResponse, responses=errors())
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)
