"""Addresses of the operator's pages. Each reads with the JSON API's own services; presenters make pages of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from atelier.common.egress_modes import Capability
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.timestamps import timestamp
from atelier.egress.whitelist import BASE
from atelier.git.client import require_git
from atelier.recordings.report import recorded_domains
from atelier.recordings.store import conversations
from atelier.workshop.idle_policy import extensions
from fastapi import APIRouter, Depends, Query, Request, Response

from ...background.metrics import attention
from ...dependencies import CurrentCaller, ProjectId
from ...services import containers
from ...services.egress import last_requests, recordings, whitelists
from ...services.git import repositories
from ...services.jobs import job_view
from ...services.ports import ports
from ...services.projects import groups
from ...services.services import Services
from ...services.system import configuration, nodes
from ..error_pages import PageRoute
from ..presenters import egress, jobs, machines, workspaces
from ..runbook import runbook
from ..templating import FragmentCache, html, rendered
from ..view import View, ViewDep

_CONVERSATIONS = 20
_SHOWN_JOBS = 100
_LOG_LINES = 200
# The workspace has no container, its Docker is away, or takes too long.
_NOT_MEASURED = (Code.PROJECT_NOT_FOUND, Code.SERVICE_UNAVAILABLE, Code.NODE_UNAVAILABLE, Code.ENGINE_ERROR)

T = TypeVar("T")


async def _operator(caller: CurrentCaller) -> None:
    if not caller.operator:
        raise AtelierError(Code.UNAUTHORIZED, Message("api.token_missing"))


router = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(_operator)])
Filter = Annotated[str, Query(max_length=100)]


@router.get("/")
async def workspaces_page(request: Request, view: ViewDep, group: Filter = "", node: Filter = "") -> Response:
    """The operator's first page: all workspaces, live."""
    form = workspaces.create_form(await configuration(view.services), groups(view.services), view.translator)
    return view.page("workspaces.html", "workspaces", listing=_listing(request, view, group, node), form=form)


@router.get("/pages/workspaces")
async def workspaces_fragment(request: Request, view: ViewDep, group: Filter = "", node: Filter = "") -> Response:
    return html(_listing(request, view, group, node))


@router.get("/pages/attention")
async def attention_fragment(view: ViewDep) -> Response:
    """Loaded separately, because it looks at all workspaces."""
    return view.show("attention.html", **attention(view.services))


@router.get("/runbook")
async def runbook_page(view: ViewDep) -> Response:
    """Shows what to do about each finding."""
    return view.page("runbook.html", "runbook", runbook=runbook())


@router.get("/workspaces/{project_id}")
@router.get("/pages/workspaces/{project_id}")
async def workspace_page(project_id: ProjectId, view: ViewDep) -> Response:
    """Shows a workspace: its facts, its notes, its outgoing traffic."""
    services = view.services
    project = services.presenter.detailed(services.row(project_id))
    until = extensions(services.reads).get(project_id)
    return view.page(
        "workspace.html",
        "workspaces",
        "workspace_facts.html",
        workspace=workspaces.row(project, movable=bool(services.settings.site.nodes)),
        memory=workspaces.spaced(project["container"]["resources"]["memory"]),
        extended=timestamp(until) if until is not None and until > datetime.now(UTC) else "",
        browsable=_browsable(services),
        docker=view.docker_away,
        # Not for the part that is loaded again: it has no form, and this reads all rows.
        form={"groups": () if view.part else groups(services)},
        id=project_id,
        aliases=project["aliases"],
    )


@router.get("/pages/workspaces/{project_id}/disk")
async def disk_fragment(project_id: ProjectId, view: ViewDep) -> Response:
    """Loaded separately, because measuring takes Docker some time."""
    translator = view.translator
    try:
        usage = await containers.disk_usage(view.services, view.services.row(project_id))
    except AtelierError as error:
        if error.code not in _NOT_MEASURED:
            raise
        return view.show("disk.html", disk=translator("disk.none"))
    sizes = {"own": usage["readable"], "total": usage["totalReadable"]}
    if usage["limitBytes"] is None:
        disk = translator("disk.own", **sizes)
    else:
        disk = translator("disk.limited", **sizes, percent=usage["percent"], limit=usage["limitReadable"])
    return view.show("disk.html", disk=translator.figure(disk))


@router.get("/pages/workspaces/{project_id}/aliases")
async def aliases_fragment(project_id: ProjectId, view: ViewDep) -> Response:
    found = view.services.presenter.project(view.services.row(project_id))["aliases"]
    return view.show("aliases.html", id=project_id, aliases=found)


@router.get("/pages/workspaces/{project_id}/ports")
async def ports_fragment(project_id: ProjectId, view: ViewDep) -> Response:
    """Loaded separately, because it queries Docker."""
    row = view.services.row(project_id)
    status = view.services.presenter.status(row)
    listening, shared = await ports(view.services, row)
    empty = "" if listening else "ports.none" if status == "running" else "ports.asleep"
    return view.show("ports.html", id=project_id, ports=workspaces.ports(listening, shared), empty=empty)


@router.get("/pages/workspaces/{project_id}/log")
async def log_fragment(project_id: ProjectId, view: ViewDep) -> Response:
    row, logs, unanswered = await last_requests(view.services, project_id, _LOG_LINES)
    rows = egress.log_rows(logs, await _allowed(view.services, row) or ())
    return view.show("log.html", rows=rows, unanswered=unanswered)


@router.get("/pages/workspaces/{project_id}/domains")
async def domains_fragment(project_id: ProjectId, view: ViewDep) -> Response:
    services = view.services
    row, folders = await recordings(services, project_id)
    found = await asyncio.to_thread(recorded_domains, folders, services.domain_categories)
    return view.show(
        "domains.html",
        categories=egress.domain_categories(found["categorized"], await _allowed(services, row)),
        id=row.id,
        unanswered=folders.unanswered,
    )


@router.get("/pages/workspaces/{project_id}/conversations")
async def conversations_fragment(
    project_id: ProjectId, view: ViewDep, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Response:
    row, folders = await recordings(view.services, project_id)
    found = await asyncio.to_thread(conversations, folders, limit=_CONVERSATIONS, offset=offset)
    following = offset + len(found.conversations)
    return view.show(
        "conversations.html",
        id=row.id,
        entries=egress.conversation_rows(found.conversations),
        total=found.total,
        following=following if following < found.total else 0,
        offset=offset,
        unanswered=folders.unanswered,
    )


@router.get("/whitelist")
async def whitelist_page(view: ViewDep, group: Filter = "") -> Response:
    """Shows the whitelist for editing, and the recorded domains that can be added to it."""
    services, translator = view.services, view.translator
    live, lists = await whitelists(services)
    named = workspaces.named(groups(services))
    recording = [row for row in services.reads.all() if row.proxy_mode.can(Capability.RECORD)]
    return view.page(
        "whitelist.html",
        "whitelist",
        whitelist=egress.whitelist_form(live.entries, lists, BASE, group, named, translator("whitelist.everybody")),
        recorded=recording,
    )


@router.get("/repositories")
@router.get("/pages/repositories")
async def repositories_page(view: ViewDep) -> Response:
    """The repositories on the git server, or a sentence if it does not answer; the page does not exist without one."""
    require_git(view.services.settings.site)
    found = await _unless_away(repositories(view.services))
    return view.page(
        "repositories.html",
        "repositories",
        "repositories_list.html",
        away=found is None,
        repositories=[{**entry, "branches": workspaces.default_first(entry)} for entry in found or []],
        browsable=_browsable(view.services),
    )


@router.get("/jobs")
@router.get("/pages/jobs")
async def jobs_page(view: ViewDep) -> Response:
    """The newest jobs, live."""
    names = _names(view.services)
    rows = [jobs.row(job_view(job), names, view.translator) for job in view.services.read_jobs.all(_SHOWN_JOBS)]
    return view.page("jobs.html", "jobs", "jobs_table.html", jobs=rows)


@router.get("/jobs/{job_id}")
@router.get("/pages/jobs/{job_id}")
async def job_page(job_id: str, view: ViewDep) -> Response:
    """Shows a job, with its live output."""
    job = jobs.row(job_view(view.services.job(job_id)), _names(view.services), view.translator)
    return view.page("job.html", "jobs", "job_state.html", job=job)


@router.get("/machines")
@router.get("/pages/machines")
async def machines_page(view: ViewDep) -> Response:
    """The machines that workspaces run on, or a sentence if Docker does not answer."""
    found = await _unless_away(nodes(view.services))
    rows = machines.rows(found or [], view.services.reads.all(), view.translator)
    return view.page("machines.html", "machines", "machines_table.html", away=found is None, machines=rows)


def _listing(request: Request, view: View, group: str, node: str) -> str:
    """The table as HTML, made once for all who look at the same state in the same language."""
    remembered: FragmentCache = request.app.state.pages
    state = (view.services.reads.version(), view.services.watcher.version)
    key = (view.translator.language, group, node)
    return remembered.get(state, key, lambda: _make_listing(view, group, node))


def _make_listing(view: View, group: str, node: str) -> str:
    services, translator = view.services, view.translator
    site = services.settings.site
    projects = services.presenter.projects(services.reads.all())
    names = {project["id"]: project["name"] for project in projects}
    return rendered(
        "workspaces_table.html",
        translator,
        table=workspaces.table(projects, group, node, movable=bool(site.nodes)),
        counts=workspaces.counts(projects),
        group=group,
        groups=workspaces.group_labels(projects, group, translator),
        node=node,
        nodes=workspaces.node_names(projects, site.node_names, node),
        activity=[jobs.row(job_view(job), names, translator) for job in services.read_jobs.unfinished()],
        docker=view.docker_away,
    )


async def _allowed(services: Services, row: Workspace) -> set[str] | None:
    """The entries of the whitelist that hold for the workspace; None where no proxy has one."""
    found = await _unless_away(whitelists(services))
    if found is None:
        return None
    live, lists = found
    return {*live.entries, *lists.get(row.group or "", ())}


async def _unless_away(asked: Awaitable[T]) -> T | None:
    """The result; None if the service that was asked does not answer."""
    try:
        return await asked
    except AtelierError as error:
        if error.code is not Code.SERVICE_UNAVAILABLE:
            raise
        return None


def _browsable(services: Services) -> bool:
    """Whether the git server has pages: the embedded one answers git and programs only."""
    server = services.settings.site.git
    return server is not None and server.service == "forgejo"


def _names(services: Services) -> dict[str, str]:
    return {row.id: row.name for row in services.reads.all()}
