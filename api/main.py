"""The application's assembly, start and shutdown. ``uvicorn api.main:create_app --factory``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from atelier.common.errors import AtelierError
from atelier.common.locks import Locks
from atelier.containers.container_names import with_names
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.client import Engine
from fastapi import FastAPI

from .auth.admin_password import AdminPassword
from .auth.browsers import Browsers
from .auth.middleware import AuthMiddleware
from .auth.sessions import Role, Sessions
from .background import disk_watch, maintenance, observation, watchdog
from .background.backup_schedule import BackupSchedule
from .background.change_feed import ChangeFeed
from .background.checkpoint_schedule import CheckpointSchedule
from .background.idle_stop import IdleStop
from .background.metrics import collector
from .background.project_list import ProjectList, topics
from .background.recovery import recover
from .background.revival import Revival
from .background.sleepers import Sleepers
from .core import errors
from .core.openapi import document
from .routers import (
    aliases,
    egress,
    git,
    jobs,
    nodes,
    ports,
    projects,
    seats,
    session,
    system,
    visits,
    workshop,
)
from .schemas.fields import TEMPLATE_FROM_GIT
from .services.services import Services
from .settings import Settings, load_settings
from .web.application import install as install_pages
from .web.error_pages import error_page

log = logging.getLogger("atelier")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API of one installation."""
    configured = settings or load_settings()
    password = configured.workshop.admin_password
    sessions = Sessions(configured.site.state_dir, {Role.OPERATOR: configured.token, Role.WORKSHOP: password})
    admin_password = AdminPassword(password, Browsers(configured.token, password, configured.site.protocol))
    app = FastAPI(
        title="Atelier",
        description="Workshops of isolated browser IDEs. Every change is a job; see docs/api.md.",
        generate_unique_id_function=lambda route: route.name,
        version=configured.api_version,
        lifespan=lambda app: _lifespan(app, configured, sessions, admin_password),
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    parts = (projects, aliases, ports, jobs, system, session, egress, git, workshop, seats, nodes, visits)
    routers = [part.router for part in parts]
    errors.install(app, [route for router in routers for route in router.routes], error_page)
    for router in routers:
        app.include_router(router)
    install_pages(app)
    app.openapi = lambda: document(app, (*configured.api_templates, TEMPLATE_FROM_GIT))  # type: ignore[method-assign]
    app.add_middleware(
        AuthMiddleware, settings=configured, sessions=sessions, admin_password=admin_password, page=error_page
    )
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI, settings: Settings, sessions: Sessions, admin_password: AdminPassword
) -> AsyncIterator[None]:
    if settings.open_to_all:
        log.warning("API_AUTH=open: everybody who can reach this API can create and delete workspaces without a token")
    site = settings.site
    with (
        WorkspaceStore(site.state_dir, site.networks, site.quotas) as store,
        WorkspaceStore(site.state_dir, site.networks, site.quotas) as reads,
    ):
        locks = Locks(site.state_dir)
        settings, must_rename = await asyncio.to_thread(_with_names, settings, store, locks)
        services = Services(settings, store, reads, locks, sessions, admin_password)
        app.state.services = services
        app.state.project_list = ProjectList()
        app.state.feed = ChangeFeed(topics(services, app.state.project_list))
        app.state.metrics = collector(services)
        services.watcher.start()
        services.sampler.start()
        tasks = [
            recover(services, must_rename),
            asyncio.create_task(Revival(services).run(), name="revival"),
            asyncio.create_task(watchdog.run(), name="watchdog"),
            asyncio.create_task(IdleStop(services).run(), name="idle_stop"),
            asyncio.create_task(Sleepers(services).run(), name="sleepers"),
            asyncio.create_task(CheckpointSchedule(services).run(), name="checkpoints"),
            asyncio.create_task(BackupSchedule(services).run(), name="backups"),
            asyncio.create_task(maintenance.clean_up(services), name="cleanup"),
            asyncio.create_task(observation.confirm_lists(services), name="lists"),
            asyncio.create_task(disk_watch.run(services), name="disk"),
            asyncio.create_task(observation.run(services), name="observation"),
            asyncio.create_task(maintenance.renew_certificate(services), name="certificate"),
            asyncio.create_task(services.audit.run(), name="audit"),
            asyncio.create_task(_sync_ports(services), name="ports"),
        ]
        yield
        for task in tasks:
            if task is not None:
                task.cancel()
        services.activities.close()
        services.seat_threads.close()
        await services.queue.drain()
        services.watcher.stop()
        services.sampler.stop()
        services.alias_auth.close()
        services.audit.close()


def _with_names(settings: Settings, store: WorkspaceStore, locks: Locks) -> tuple[Settings, bool]:
    """The settings with the key for the containers' names, and whether a repair must rename containers.

    Only the first start of an Atelier that has such a key needs Docker; if it is away, the renaming waits.
    """
    site, docker_is_away = settings.site, False
    if site.names_key is not None:
        return settings, False
    engine = None
    try:
        engine = Engine(site.engine_url) if store.all() else None
    except AtelierError as error:
        log.warning("the containers are renamed when Docker is back: %s", error)
        docker_is_away = True
    named = with_names(site, engine, locks, settings.ready_timeout + 60)
    return replace(settings, site=named), docker_is_away


async def _sync_ports(services: Services) -> None:
    """Fills the gateway's table for installations that were made before there was one."""
    try:
        await asyncio.to_thread(services.sync_ports)
    except AtelierError as error:
        log.warning("the gateway was not told of the workspaces' ports: %s", error)
