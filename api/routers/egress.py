"""Outgoing traffic of workspaces: Squid's whitelist and log, the recorded domains and LLM conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

from atelier.egress.squid_log import LogEntry
from atelier.egress.whitelist import WhitelistMode, allowable, normalise
from atelier.recordings import store as recordings
from atelier.recordings.folders import Recorded
from atelier.recordings.report import document, recorded_domains
from fastapi import APIRouter, Query

from ..auth.middleware import Caller
from ..core.openapi import errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, ProjectId, ServicesDep
from ..schemas.common import Done
from ..schemas.egress import (
    ChangeWhitelist,
    Conversation,
    Conversations,
    Documentation,
    Forgotten,
    GenerateDocumentation,
    LogLine,
    RecordedDomains,
    RecordedWhitelisted,
    SquidLogs,
    Whitelist,
    WhitelistChanged,
    WhitelistOfRecorded,
)
from ..services import egress
from ..services.services import Services

router = APIRouter(route_class=Route, tags=["egress"])
_PROJECT = "/api/projects/{project_id}"
# A day alone is taken, too.
_DATE: dict[str, Any] = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}


@router.get(f"{_PROJECT}/squid-logs", responses=errors(404, 500))
async def get_squid_logs(
    project_id: ProjectId, services: ServicesDep, lines: Annotated[int, Query(ge=1, le=500)] = 50
) -> SquidLogs:
    """The newest requests that Squid saw from the workspace, oldest first."""
    row, entries, unanswered = await egress.last_requests(services, project_id, lines)
    logs: SquidLogs = {"success": True, "ipAddress": row.address, "logs": [_log_line(entry) for entry in entries]}
    return {**logs, "unanswered": unanswered} if unanswered else logs


@router.get(f"{_PROJECT}/recorded-domains", responses=errors(404, 500))
async def get_recorded_domains(project_id: ProjectId, services: ServicesDep) -> RecordedDomains:
    """Every domain that the workspace asked for, by category, while it was recorded."""
    row, folders = await egress.recordings(services, project_id)
    found = await asyncio.to_thread(recorded_domains, folders, services.domain_categories)
    answer: RecordedDomains = {
        "success": True,
        "projectId": row.id,
        "ipAddress": row.address,
        "domains": found["domains"],
        "categorized": found["categorized"],
        "totalDomains": found["total_domains"],
    }
    return {**answer, "unanswered": folders.unanswered} if folders.unanswered else answer


@router.post(f"{_PROJECT}/recorded-domains/whitelist", responses=errors(404, 409, 500, 503))
async def whitelist_recorded_domains(
    project_id: ProjectId, services: ServicesDep, caller: CurrentCaller, body: WhitelistOfRecorded | None = None
) -> RecordedWhitelisted:
    """Adds the recorded domains to the whitelist, or to the group's list. ``skipped`` are names that cannot be
    whitelisted, such as bare addresses."""
    _, folders = await egress.recordings(services, project_id)
    found = recordings.domains(folders)
    entries, skipped = await asyncio.to_thread(allowable, sorted(found))
    group = body.group if body else None
    changed = await egress.change_whitelist(services, caller, entries, WhitelistMode.PRESENT, group)
    missing = {"unanswered": folders.unanswered} if folders.unanswered else {}
    return cast("RecordedWhitelisted", {**changed, "skipped": skipped, **missing})


@router.get(f"{_PROJECT}/llm-conversations", responses=errors(404, 500))
async def get_llm_conversations(
    project_id: ProjectId,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    model: str | None = None,
    date_from: Annotated[str | None, Query(alias="dateFrom", json_schema_extra=_DATE)] = None,
    date_to: Annotated[str | None, Query(alias="dateTo", json_schema_extra=_DATE)] = None,
) -> Conversations:
    """The recorded conversations, newest first. ``count`` are those of this page, ``total`` all that fit. A page ends
    before ``limit`` when its conversations are large: go on with ``offset`` + ``count``."""
    row, folders = await egress.recordings(services, project_id)
    page = await asyncio.to_thread(
        recordings.conversations, folders, limit=limit, offset=offset, model=model, date_from=date_from, date_to=date_to
    )
    answer: Conversations = {
        "success": True,
        "projectId": row.id,
        "ipAddress": row.address,
        "conversations": cast("list[Conversation]", page.conversations),
        "count": len(page.conversations),
        "total": page.total,
    }
    return {**answer, "unanswered": folders.unanswered} if folders.unanswered else answer


@router.delete(f"{_PROJECT}/llm-conversations", responses=errors(404, 500))
async def delete_llm_conversations(project_id: ProjectId, services: ServicesDep, caller: CurrentCaller) -> Forgotten:
    """Deletes all recorded conversations of the workspace; its recorded domains stay."""
    unanswered = await _forget(services, caller, project_id, recordings.delete_conversations)
    done: Forgotten = {"success": True, "message": "All conversations deleted successfully"}
    return {**done, "unanswered": unanswered} if unanswered else done


@router.delete(f"{_PROJECT}/llm-conversations/{{timestamp}}", responses=errors(404, 500))
async def delete_llm_conversation(
    project_id: ProjectId, timestamp: str, services: ServicesDep, caller: CurrentCaller
) -> Done:
    """Deletes one recorded conversation, named by its timestamp."""
    await _forget(services, caller, project_id, lambda folders: recordings.delete_conversation(folders, timestamp))
    return {"success": True, "message": "Conversation deleted successfully"}


@router.post(f"{_PROJECT}/generate-documentation", responses=errors(404, 500))
async def generate_documentation(
    project_id: ProjectId, services: ServicesDep, body: GenerateDocumentation | None = None
) -> Documentation:
    """The recorded conversations as one Markdown document; ``detailed`` also has tools, parameters and reasoning."""
    row, folders = await egress.recordings(services, project_id)
    wanted = body or GenerateDocumentation()
    written = await asyncio.to_thread(document, folders, row, wanted.type)
    answer: Documentation = {
        "success": True,
        "projectId": row.id,
        "format": wanted.format,
        "type": wanted.type,
        "documentation": written["document"],
        "conversationCount": written["conversation_count"],
    }
    return {**answer, "unanswered": folders.unanswered} if folders.unanswered else answer


@router.get("/api/whitelist", responses=errors(500, 503))
async def get_whitelist(services: ServicesDep) -> Whitelist:
    """Returns the domains that all workspaces of the mode security can reach, and each group's further ones."""
    live, groups = await egress.whitelists(services)
    return {"success": True, "domains": live.entries, "raw": live.section, "groups": groups}


@router.put("/api/whitelist", responses=errors(409, 500, 503))
async def put_whitelist(body: ChangeWhitelist, services: ServicesDep, caller: CurrentCaller) -> WhitelistChanged:
    """Replaces the whitelist, or a group's; the base domains always stay. It holds when the answer comes."""
    entries = await asyncio.to_thread(normalise, body.domains)
    return await egress.change_whitelist(services, caller, entries, WhitelistMode.EXACT, body.group)


@router.post("/api/whitelist", responses=errors(409, 500, 503))
async def add_to_whitelist(body: ChangeWhitelist, services: ServicesDep, caller: CurrentCaller) -> WhitelistChanged:
    """Adds domains to the whitelist, or to a group's list. They are active when the answer arrives."""
    entries = await asyncio.to_thread(normalise, body.domains)
    return await egress.change_whitelist(services, caller, entries, WhitelistMode.PRESENT, body.group)


async def _forget(
    services: Services, caller: Caller, project_id: str, delete: Callable[[Recorded], object]
) -> Sequence[str]:
    """Deletes recordings on all machines; returns the machines that did not answer."""
    row, folders = await egress.recordings(services, project_id)
    await asyncio.to_thread(delete, folders)
    services.audit.write(caller.name, "delete-conversations", row.id, "successful")
    return folders.unanswered


def _log_line(entry: LogEntry) -> LogLine:
    return {
        "timestamp": entry.timestamp,
        "duration": entry.duration,
        "clientIP": entry.client_ip,
        "status": entry.status,
        "bytes": entry.bytes,
        "method": entry.method,
        "url": entry.url,
        "rawLine": entry.raw_line,
    }
