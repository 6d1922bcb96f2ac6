"""The end of a workshop: the seats are collected and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.database.job_store import OPEN
from atelier.workshop.manifest import Entry, fault_of, folder_of, read_manifest

from ..auth.middleware import Caller
from ..runner.operations import COLLECT, TEARDOWN
from ..schemas.jobs import JobAnswer, JobBegun
from ..schemas.workshop import Collected, CollectedSeat, TearDown
from .jobs import job_view, newest, start_job
from .services import Services


async def collect(services: Services, caller: Caller) -> JobBegun:
    """Starts a collect of all the workshop's workspaces."""
    services.require_docker()
    rows = _members(services)
    return await _begin(services, caller, COLLECT, rows, {"workshop_report_only": True})


async def collected(services: Services) -> Collected:
    """The collected work by seat, and the workshop's present workspaces."""
    folder = _folder(services)
    entries = await asyncio.to_thread(read_manifest, folder)
    rows = _members(services)
    missing = await asyncio.to_thread(_missing, folder, entries, rows)
    return {
        "success": True,
        "seats": [_seat(entry) for entry in entries.values()],
        "workspaces": [
            {"projectId": row.id, "projectName": row.name, "isBase": _is_base(row), "collected": row.id not in missing}
            for row in rows
        ],
        "job": _newest_view(services, COLLECT),
        "teardown": _newest_view(services, TEARDOWN),
    }


async def archive(services: Services, project_id: str) -> Path:
    """The path of a seat's archive, even if the seat is gone. Raises NOT_FOUND."""
    folder = _folder(services)
    entry = (await asyncio.to_thread(read_manifest, folder)).get(project_id)
    path = folder / entry.file if entry and entry.file else None
    if path is None or not path.is_file():
        raise AtelierError(Code.NOT_FOUND, Message("api.no_archive"), field="projectId", value=project_id[:40])
    return path


async def tear_down(services: Services, caller: Caller, wanted: TearDown) -> JobBegun:
    """Starts the removal of the seats. Raises NOT_COLLECTED if work would be lost, unless that is accepted."""
    services.require_docker()
    rows = [row for row in _members(services) if wanted.base or not _is_base(row)]
    folder = _folder(services)
    if wanted.collected != "ignore":
        entries = await asyncio.to_thread(read_manifest, folder)
        missing = await asyncio.to_thread(_missing, folder, entries, rows)
        if missing:
            raise _not_collected(list(missing.values()), len(rows))
    # Where the inventory has it, unless a site chose another place. The next workshop's seats have other passwords.
    sheet = services.settings.site.state_dir / f"{folder.name}.csv"
    variables = {"confirm": True, "collected": wanted.collected or "", "workshop_ids_csv": str(sheet)}
    return await _begin(services, caller, TEARDOWN, rows, variables)


async def _begin(
    services: Services, caller: Caller, operation: str, rows: Sequence[Workspace], variables: Mapping[str, Any]
) -> JobBegun:
    under_way = next((job for job in services.read_jobs.unfinished() if job.operation in (COLLECT, TEARDOWN)), None)
    if under_way is not None:
        message = Message("api.ending_under_way", operation=under_way.operation, job=under_way.id)
        raise AtelierError(Code.WORKSPACE_BUSY, message, job=under_way.id)
    if not rows:
        raise AtelierError(Code.NOT_FOUND, Message("api.no_seats", group=services.settings.workshop.group))
    ids = [row.id for row in rows]
    ordered = {"workshop_archive": str(_folder(services)), **variables}
    job, _ = await start_job(services, caller, operation, ids, ordered)
    return {"success": True, "message": f"The {operation} of {len(ids)} workspaces has begun", "jobId": job.id}


def _members(services: Services) -> list[Workspace]:
    """The seats in the order of claiming, then the workspaces that they were cloned from."""
    seats = services.read_claims.seats()
    known = {row.id for row in seats}
    return seats + [row for row in services.read_claims.members() if row.id not in known]


def _is_base(row: Workspace) -> bool:
    """Whether it is a base, not a clone."""
    return row.cloned_from is None


def _folder(services: Services) -> Path:
    return folder_of(services.settings.site.state_dir, services.settings.workshop.group)


def _missing(folder: Path, entries: Mapping[str, Entry], rows: Sequence[Workspace]) -> dict[str, str]:
    """Names of the workspaces whose work is not archived, by id. The playbook itself reads the archives, and checks for
    newer work, before it removes anything."""
    return {row.id: row.name for row in rows if fault_of(folder, entries.get(row.id), read=False)}


def _not_collected(names: Sequence[str], total: int) -> AtelierError:
    shown = ", ".join(names[:5])
    if len(names) > 5:
        shown = Message("sentences", first=shown, then=Message("and_more", count=len(names) - 5))
    message = Message("api.not_collected", missing=len(names), total=total, names=shown)
    return AtelierError(Code.NOT_COLLECTED, message, missing=names)


def _newest_view(services: Services, operation: str) -> JobAnswer | None:
    """The operation's newest job. The progress of a teardown is in the rows."""
    job = newest(services, operation)
    if job is None:
        return None
    view = job_view(job)
    if operation == TEARDOWN and job.state in OPEN:
        gone = sum(services.reads.find(id=id) is None for id in job.project_ids)
        view["progress"] = {"done": gone, "total": len(job.project_ids)}
    return view


def _seat(entry: Entry) -> CollectedSeat:
    return {
        "projectId": entry.id,
        "projectName": entry.name,
        "state": entry.state,
        "collectedAt": entry.collected_at,
        "file": entry.file,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "branch": entry.branch,
        "commit": entry.commit,
        "committed": entry.committed,
        "pushed": entry.pushed,
        "note": entry.note,
        "error": entry.error,
    }
