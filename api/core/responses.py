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


class Route(APIRoute):
    """Sends the handler's result without validation, to save time: mypy checks it against the documented type. Handlers
    called by other handlers or pages return objects."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **options: Any) -> None:
        @wraps(endpoint)
        async def send(*arguments: Any, **named: Any) -> Response:
            answer = await endpoint(*arguments, **named)
            return answer if isinstance(answer, Response) else JSON(answer, options.get("status_code") or 200)

        super().__init__(path, send, **options)
