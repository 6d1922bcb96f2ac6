"""That something changed, as Server-Sent Events: what the pages follow instead of asking again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from ..docs import errors
from ..feed import Feed

router = APIRouter(tags=["system"])


@router.get("/api/events", response_class=EventSourceResponse, responses=errors())
async def events(request: Request) -> Response:
    """An event named after each topic (``workspaces``, ``jobs``, ``claims``) at the beginning and whenever something
    of it changed. It says no more than that: ask for what you show."""
    return EventSourceResponse(_events(request.app.state.feed), ping=15)


async def _events(feed: Feed) -> AsyncIterator[ServerSentEvent]:
    async for topic in feed.follow():
        yield ServerSentEvent("{}", event=topic)
