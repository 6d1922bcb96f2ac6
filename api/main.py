"""The application: put together, started, taken down. ``uvicorn api.main:create_app --factory``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atelier.jobs import Jobs
from atelier.registry import Registry
from fastapi import FastAPI

from . import errors
from .access import Caller, Gatekeeper
from .audit import Audit
from .changes import begin
from .deps import Services
from .listing import ProjectList
from .metrics import collector
from .operations import operations
from .passwords import PasswordGuard
from .presenter import Presenter
from .routers import jobs, later, projects, system
from .runner.queue import Queue
from .sampler import Sampler
from .settings import Settings, load_settings
from .watcher import Watcher

log = logging.getLogger("atelier")

_RECOVERY = Caller("127.0.0.1", "recovery")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API of one installation."""
    configured = settings or load_settings()
    app = FastAPI(
        title="Atelier",
        version=configured.version,
        lifespan=lambda app: _lifespan(app, configured),
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    errors.install(app)
    for router in (projects.router, jobs.router, system.router, later.router):
        app.include_router(router)
    app.add_middleware(Gatekeeper, settings=configured)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    if settings.open_to_all:
        log.warning("API_AUTH=open: whoever reaches this API may create and delete workspaces without a token")
    with Registry(settings.site.state_dir, settings.site.networks, settings.site.quotas) as registry:
        watcher = Watcher(settings.site, registry)
        sampler = Sampler(settings.site.engine_url, watcher)
        job_records = Jobs(registry)
        platform = Services(
            settings=settings,
            registry=registry,
            jobs=job_records,
            queue=Queue(settings, job_records, operations(registry)),
            watcher=watcher,
            sampler=sampler,
            presenter=Presenter(settings, watcher, sampler),
            passwords=PasswordGuard(),
            audit=Audit(settings.site.state_dir),
            started=time.time(),
        )
        app.state.services = platform
        app.state.project_list = ProjectList()
        app.state.metrics = collector(platform)
        watcher.start()
        sampler.start()
        recovery = asyncio.create_task(_recover(platform))
        yield
        recovery.cancel()
        await platform.queue.drain()
        watcher.stop()
        sampler.stop()
        platform.audit.close()


async def _recover(platform: Services) -> None:
    """Takes up what a crash interrupted: first the repair of what is half-made, then the jobs, in their order.

    The playbooks are idempotent, so taking up is running again."""
    unfinished = platform.jobs.unfinished()
    if not unfinished:
        return
    while not platform.watcher.available:
        await asyncio.sleep(0.2)
    log.warning("taking up %d jobs that were interrupted", len(unfinished))
    repair = await asyncio.to_thread(platform.jobs.open, "repair", [], {}, _RECOVERY.name)
    await begin(platform, _RECOVERY, repair)
    for job in unfinished:
        await asyncio.to_thread(platform.jobs.note, job.id, "resumed", {"text": "taken up after an interruption"})
        begin(platform, _RECOVERY, job)
