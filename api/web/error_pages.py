"""Error pages: browsers get a page, programs the API's JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from ..auth.middleware import is_page
from ..core.errors import STATUS
from .i18n import Words, choose_language, words
from .templating import page

log = logging.getLogger(__name__)

# The field and texts for signing in to each kind of page.
_DOORS = {
    False: {"field": "token", "label": "field.token", "text": "sign_in.text"},
    True: {"field": "workshopPassword", "label": "admin.password", "text": "admin.sign_in"},
}
# Fragments are asked for by scripts, and addresses of the API by programs.
_NOT_FOR_EYES = ("/api/", "/pages/")


class PageRoute(APIRoute):
    """Shows errors as pages: callers without access can sign in, other errors are explained."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_or_say_why(request: Request) -> Response:
            try:
                return await answer(request)
            except AtelierError as error:
                if error.code is Code.UNAUTHORIZED:
                    door = _DOORS[request.url.path.startswith(("/workshop", "/pages/workshop"))]
                    return page("sign_in.html", _translator(request.headers), STATUS[error.code], door=door)
                fault = error
            except RequestValidationError:
                fault = _nowhere()
            except Exception:  # the boundary: people get an error page, the log has the cause
                log.exception("%s could not be shown", request.url.path)
                fault = AtelierError(Code.INTERNAL_ERROR, Message("api.unforeseen"))
            return _trouble(request.headers, fault, is_operator=request.scope["caller"].operator)

        return answer_or_say_why


def refusal(method: str, path: str, headers: Headers, error: AtelierError) -> Response | None:
    """The page for a browser that is refused; None for a program. It does not reveal what is at the address."""
    if not _is_looked_at(method, path, headers):
        return None
    return _trouble(headers, _nowhere() if error.code is Code.UNAUTHORIZED else error, is_operator=False)


def install_wrong_addresses(app: FastAPI) -> None:
    """The page for an unknown address; redirects if only a trailing slash is too much."""
    say_to_programs = app.exception_handlers[HTTPException]

    @app.exception_handler(404)
    async def nowhere(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if not _is_looked_at(request.method, path, request.headers):
            answer = say_to_programs(request, error)
            return await answer if isawaitable(answer) else answer
        if path.endswith("/") and is_page(path.rstrip("/")):
            return RedirectResponse(path.rstrip("/"), 308)
        return _trouble(request.headers, _nowhere(), is_operator=request.scope["caller"].operator)


def _nowhere() -> AtelierError:
    return AtelierError(Code.NOT_FOUND, Message("api.nothing_here"))


def _is_looked_at(method: str, path: str, headers: Headers) -> bool:
    return method == "GET" and not path.startswith(_NOT_FOR_EYES) and "text/html" in headers.get("accept", "")


def _trouble(headers: Headers, error: AtelierError, *, is_operator: bool) -> Response:
    translator = _translator(headers)
    said = translator.texts.get(f"error.{error.details.get('reason', error.code)}", str(error))
    back = {"href": "/", "key": "trouble.back"} if is_operator else {"href": "/workshop", "key": "trouble.to_workshop"}
    return page("trouble.html", translator, STATUS.get(error.code, 500), said=said, back=back)


def _translator(headers: Headers) -> Words:
    return words(choose_language(headers.get("accept-language", "")))
