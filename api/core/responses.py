"""JSON answers, made by orjson: a list of five hundred workspaces is a matter of a millisecond."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import orjson
from atelier.common.messages import tagged
from fastapi.routing import APIRoute
from starlette.responses import Response


class JSON(Response):
    """Messages become their English text, with their codes beside."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(tagged(content))


def job_address(job_id: str) -> dict[str, str]:
    """The header of an answer to a request that became a job."""
    return {"Location": f"/api/jobs/{job_id}"}


class Route(APIRoute):
    """Sends the handler's result without validation, to save time: mypy checks it against the documented type. One with
    a job's id has the job's address as a header."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **options: Any) -> None:
        @wraps(endpoint)
        async def send(*arguments: Any, **named: Any) -> Response:
            answer = await endpoint(*arguments, **named)
            if isinstance(answer, Response):
                return answer
            headers = job_address(answer["jobId"]) if "jobId" in answer else None
            return JSON(answer, options.get("status_code") or 200, headers=headers)

        super().__init__(path, send, **options)
