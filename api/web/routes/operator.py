"""Addresses of the operator's pages. Each reads with the JSON API's own services; presenters make pages of that."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

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

from ...background.metrics import attention, certificate_expires
from ...dependencies import CurrentCaller, ProjectId, ServicesDep
from ...services import containers
from ...services.egress import logged, recorded, whitelists
from ...services.git import repositories
from ...services.jobs import job_view
from ...services.ports import ports
from ...services.projects import groups
from ...services.services import Services
from ...services.system import configuration, nodes
from ..error_pages import PageRoute
from ..fragment_cache import FragmentCache
from ..helpers import docker_away, layout_context
from ..i18n import Words
from ..presenters import aliases, egress, git, jobs, machines, workshop, workspaces
from ..presenters.attention import section
from ..runbook import runbook
from ..templating import TranslatorDep, html, page, rendered

_CONVERSATIONS = 20
_SHOWN_JOBS = 100
_LOG_LINES = 200


async def _operator(caller: CurrentCaller) -> None:
    if not caller.operator:
        raise AtelierError(Code.UNAUTHORIZED, Message("api.token_missing"))


router = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(_operator)])
Group = Annotated[str, Query(max_length=100)]
Node = Annotated[str, Query(max_length=100)]


@router.get("/")
async def workspaces_page(
    request: Request,
    services: ServicesDep,
    caller: CurrentCaller,
    translator: TranslatorDep,
    group: Group = "",
    node: Node = "",
) -> Response:
    """The operator's first page: all workspaces, live."""
    return page(
        "workspaces.html",
        translator,
        listing=await _listing(request, services, translator, group, node),
        form=workspaces.create_form(await configuration(services), groups(services), translator),
        **layout_context(services, caller, "workspaces"),
    )


@router.get("/pages/workspaces")
async def workspaces_fragment(
    request: Request, services: ServicesDep, translator: TranslatorDep, group: Group = "", node: Node = ""
) -> Response:
    return html(await _listing(request, services, translator, group, node))


@router.get("/pages/attention")
async def attention_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    """Loaded separately, because it looks at all workspaces."""
    shown = section(attention(services), certificate_expires(services), translator)
    return page("attention.html", translator, **shown)


@router.get("/runbook")
async def runbook_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """Shows what to do about each finding."""
    return page("runbook.html", translator, runbook=runbook(), **layout_context(services, caller, "runbook"))


@router.get("/workspaces/{project_id}")
async def workspace_page(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep
) -> Response:
    """Shows a workspace: its facts, its notes, its outgoing traffic."""
    return page(
        "workspace.html",
        translator,
        **_workspace(services, project_id, translator),
        **_aliases(services, project_id, translator),
        form={"groups": groups(services)},
        **layout_context(services, caller, "workspaces"),
    )


@router.get("/pages/workspaces/{project_id}")
async def workspace_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("workspace_facts.html", translator, **_workspace(services, project_id, translator))


@router.get("/pages/workspaces/{project_id}/disk")
async def disk_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Loaded separately, because measuring takes Docker some time."""
    try:
        usage = await containers.disk_usage(services, services.row(project_id))
    except AtelierError as error:
        if error.code not in (Code.PROJECT_NOT_FOUND, Code.SERVICE_UNAVAILABLE):
            raise
        return page("disk.html", translator, disk=translator("disk.none"))  # it has no container, or Docker is away
    sizes = {"own": usage["readable"], "total": usage["totalReadable"]}
    if usage["limitBytes"] is None:
        disk = translator("disk.own", **sizes)
    else:
        disk = translator("disk.limited", **sizes, percent=usage["percent"], limit=usage["limitReadable"])
    return page("disk.html", translator, disk=translator.figure(disk))


@router.get("/pages/workspaces/{project_id}/aliases")
async def aliases_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("aliases.html", translator, **_aliases(services, project_id, translator))


@router.get("/pages/workspaces/{project_id}/ports")
async def ports_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Loaded separately, because it queries Docker."""
    row = services.row(project_id)
    status, _ = services.presenter.status(row)
    rows = aliases.ports(*await ports(services, row), status, translator)
    return page("ports.html", translator, id=project_id, ports=rows)


@router.get("/pages/workspaces/{project_id}/log")
async def log_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    row = logged(services, project_id)
    logs, unanswered = await asyncio.to_thread(services.last_requests, row, _LOG_LINES)
    allowed = await _allowed(services, row)
    entries = egress.log_rows(logs, allowed or (), translator)
    return page("log.html", translator, entries=entries, unanswered=unanswered)


@router.get("/pages/workspaces/{project_id}/domains")
async def domains_fragment(project_id: ProjectId, services: ServicesDep, translator: TranslatorDep) -> Response:
    row = recorded(services, project_id)
    folders = await asyncio.to_thread(services.recordings, row)
    found = await asyncio.to_thread(recorded_domains, folders, services.domain_categories)
    project = workspaces.row(services.presenter.project(row), translator)
    categories = egress.domain_categories(found["categorized"], await _allowed(services, row), translator)
    unanswered = folders.unanswered
    return page("domains.html", translator, categories=categories, workspace=project, unanswered=unanswered)


@router.get("/pages/workspaces/{project_id}/conversations")
async def conversations_fragment(
    project_id: ProjectId,
    services: ServicesDep,
    translator: TranslatorDep,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    row = recorded(services, project_id)
    folders = await asyncio.to_thread(services.recordings, row)
    found = await asyncio.to_thread(conversations, folders, limit=_CONVERSATIONS, offset=offset)
    following = offset + len(found.conversations)
    return page(
        "conversations.html",
        translator,
        id=row.id,
        entries=egress.conversation_rows(found.conversations, translator),
        total=translator.count("conversation.total", found.total),
        following=following if following < found.total else 0,
        offset=offset,
        unanswered=folders.unanswered,
    )


@router.get("/whitelist")
async def whitelist_page(
    services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep, group: Group = ""
) -> Response:
    """Shows the whitelist for editing, and the recorded domains that can be added to it."""
    live, lists = await whitelists(services)
    recording = [row for row in services.reads.all() if row.proxy_mode.can(Capability.RECORD)]
    return page(
        "whitelist.html",
        translator,
        whitelist=egress.whitelist_form(
            live.entries, lists, BASE, group, workspaces.named(groups(services)), translator
        ),
        recorded=[workspaces.row(services.presenter.project(row), translator) for row in recording],
        **layout_context(services, caller, "whitelist"),
    )


@router.get("/repositories")
async def repositories_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """The repositories on the git server; the page does not exist without one."""
    require_git(services.settings.site)
    found = await _repositories(services, translator)
    return page("repositories.html", translator, **found, **layout_context(services, caller, "repositories"))


@router.get("/pages/repositories")
async def repositories_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("repositories_list.html", translator, **await _repositories(services, translator))


@router.get("/jobs")
async def jobs_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """The newest jobs, live."""
    return page("jobs.html", translator, jobs=_jobs(services, translator), **layout_context(services, caller, "jobs"))


@router.get("/pages/jobs")
async def jobs_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("jobs_table.html", translator, jobs=_jobs(services, translator))


@router.get("/jobs/{job_id}")
async def job_page(job_id: str, services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """Shows a job, with its live output."""
    return page(
        "job.html", translator, job=_job(services, job_id, translator), **layout_context(services, caller, "jobs")
    )


@router.get("/pages/jobs/{job_id}")
async def job_fragment(job_id: str, services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("job_state.html", translator, job=_job(services, job_id, translator))


@router.get("/machines")
async def machines_page(services: ServicesDep, caller: CurrentCaller, translator: TranslatorDep) -> Response:
    """The machines that workspaces run on."""
    shown = await _machines(services, translator)
    return page("machines.html", translator, **shown, **layout_context(services, caller, "machines"))


@router.get("/pages/machines")
async def machines_fragment(services: ServicesDep, translator: TranslatorDep) -> Response:
    return page("machines_table.html", translator, **await _machines(services, translator))


async def _machines(services: Services, translator: Words) -> dict[str, Any]:
    """The list, or a sentence if Docker does not answer; the page is shown in both cases."""
    try:
        found = await nodes(services)
    except AtelierError as error:
        if error.code is not Code.SERVICE_UNAVAILABLE:
            raise
        return {"away": translator("docker.away"), "machines": []}
    return {"away": "", "machines": machines.rows(found, services.reads.all(), translator)}


async def _listing(request: Request, services: Services, translator: Words, group: str, node: str) -> str:
    """The table as HTML, made once for all who look at the same state in the same language."""
    remembered: FragmentCache = request.app.state.pages
    key = (services.reads.version(), services.watcher.version)
    return remembered.get(
        key, (translator.language, group, node), lambda: _make_listing(services, translator, group, node)
    )


def _make_listing(services: Services, translator: Words, group: str, node: str) -> str:
    projects = services.presenter.projects(services.reads.all())
    names = {project["id"]: project["name"] for project in projects}
    unfinished = [job_view(job) for job in services.read_jobs.unfinished()]
    return rendered(
        "workspaces_table.html",
        translator,
        table=workspaces.table(projects, group, translator, node, movable=bool(services.settings.site.nodes)),
        counts=workspaces.counts(projects, translator),
        groups=workspaces.group_options(projects, group, translator),
        nodes=workspaces.node_options(projects, services.settings.site.node_names, node, translator),
        activity=jobs.rows(unfinished, names, translator),
        docker=docker_away(services, translator),
    )


def _workspace(services: Services, project_id: str, translator: Words) -> dict[str, Any]:
    project = services.presenter.detailed(services.row(project_id))
    return {
        "workspace": workspaces.row(project, translator, movable=bool(services.settings.site.nodes)),
        "docker": docker_away(services, translator),
        "facts": workspaces.facts(project, _extended(services, project_id), translator),
        "repository": git.repository(project, translator, browsable=_browsable(services)),
    }


def _extended(services: Services, project_id: str) -> str:
    until = extensions(services.reads).get(project_id)
    return timestamp(until) if until is not None and until > workshop.moment() else ""


async def _allowed(services: Services, row: Workspace) -> list[str] | None:
    """The entries of the whitelist that hold for the workspace; None where no proxy has one."""
    try:
        live, lists = await whitelists(services)
    except AtelierError as error:
        if error.code is not Code.SERVICE_UNAVAILABLE:
            raise
        return None
    return [*live.entries, *lists.get(row.group or "", ())]


def _aliases(services: Services, project_id: str, translator: Words) -> dict[str, Any]:
    found = services.presenter.aliases(services.row(project_id))
    return {"id": project_id, "aliases": aliases.aliases(found, translator)}


def _browsable(services: Services) -> bool:
    """Whether the git server has pages: the embedded one answers git and programs only."""
    server = services.settings.site.git
    return server is not None and server.service == "forgejo"


async def _repositories(services: Services, translator: Words) -> dict[str, Any]:
    """The list, or a sentence if the git server does not answer; the page is shown in both cases."""
    try:
        found = await repositories(services)
    except AtelierError as error:
        if error.code is not Code.SERVICE_UNAVAILABLE:
            raise
        return {"away": translator("repositories.away"), "repositories": []}
    return {"away": "", "repositories": git.repositories(found, browsable=_browsable(services))}


def _jobs(services: Services, translator: Words) -> list[dict[str, Any]]:
    shown = [job_view(job) for job in services.read_jobs.all(_SHOWN_JOBS)]
    return jobs.rows(shown, _names(services), translator)


def _job(services: Services, job_id: str, translator: Words) -> dict[str, Any]:
    return jobs.row(job_view(services.job(job_id)), _names(services), translator)


def _names(services: Services) -> dict[str, str]:
    return {row.id: row.name for row in services.reads.all()}
