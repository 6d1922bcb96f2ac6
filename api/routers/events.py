"""Change notifications as Server-Sent Events, for the pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from ..background.change_feed import ChangeFeed
from ..core.openapi import STREAM, errors
from ..dependencies import CurrentCaller, ServicesDep

router = APIRouter(tags=["system"])


@router.get("/api/events", response_class=EventSourceResponse, responses={**STREAM, **errors(429)})
async def events(request: Request, services: ServicesDep, caller: CurrentCaller) -> Response:
    """Sends an event named after each topic (``workspaces``, ``jobs``, ``claims``) at the beginning and whenever the
    topic changed, without data: request what you show."""
    return services.streams.answer(caller.address, _events(request.app.state.feed))


async def _events(feed: ChangeFeed) -> AsyncGenerator[ServerSentEvent]:
    async with aclosing(feed.follow()) as topics:
        async for topic in topics:
            yield ServerSentEvent("{}", event=topic)
