"""Jobs: requests, progress and results."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Annotated

import orjson
from atelier.common.messages import Message
from atelier.database.job_store import OPEN
from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from ..core.openapi import STREAM, errors
from ..core.responses import Route
from ..dependencies import CurrentCaller, JobId, ServicesDep
from ..schemas.jobs import JobList, OneJob
from ..services.jobs import CANCELING, job_view
from ..services.services import Services

router = APIRouter(route_class=Route, prefix="/api/jobs", tags=["jobs"])

_EVENT_ID = re.compile(r"[0-9]{1,18}")


@router.get("", responses=errors())
async def list_jobs(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JobList:
    """The newest jobs, newest first."""
    return {"success": True, "jobs": [job_view(job) for job in services.read_jobs.all(limit)]}


@router.get("/{job_id}", responses=errors(404))
async def get_job(job_id: JobId, services: ServicesDep) -> OneJob:
    """Returns a job: its progress, and the result for each of its workspaces."""
    return {"success": True, "job": job_view(services.job(job_id))}


@router.post("/{job_id}/cancel", status_code=202, responses=errors(404, 409))
async def cancel_job(job_id: JobId, services: ServicesDep, caller: CurrentCaller) -> OneJob:
    """Cancels a job. Finished work stays; the workspace in progress is marked as failed and cleaned up."""
    job = services.job(job_id)
    services.queue.cancel(job.id)
    await asyncio.to_thread(services.jobs.add_event, job.id, CANCELING, {"text": Message("step.asked_to_end")})
    services.audit.write(caller.name, "cancel", None, "asked for", job.id)
    return {"success": True, "job": job_view(job)}


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses={**STREAM, **errors(404, 429)})
async def job_events(
    job_id: JobId, services: ServicesDep, caller: CurrentCaller, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """The job's events as a stream (Server-Sent Events). ``Last-Event-ID`` resumes after that event; the stream ends
    with the job."""
    job = services.job(job_id)
    after = int(last_event_id) if last_event_id and _EVENT_ID.fullmatch(last_event_id) else 0
    return services.streams.answer(caller.address, _events(services, job.id, after))


async def _events(services: Services, job_id: str, after: int) -> AsyncGenerator[ServerSentEvent]:
    while True:
        # Asked for before the look, so that a change right after it is not missed.
        changed = asyncio.ensure_future(services.queue.next_change())
        try:
            # The state before the events: once it has ended, its last event is there.
            over = services.job(job_id).state not in OPEN
            for event in services.read_jobs.events(job_id, after):
                after = event.sequence
                data = orjson.dumps({"at": event.at, **event.data}).decode()
                yield ServerSentEvent(data, event=event.kind, id=str(event.sequence))
            if over:
                return
            await changed
        finally:
            changed.cancel()
