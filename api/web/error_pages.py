"""Error pages: browsers get a page, programs the API's JSON."""

from __future__ import annotations

from atelier.common.errors import AtelierError, Code
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from ..auth.middleware import Caller, is_page
from ..core.errors import STATUS, nothing_here
from .i18n import Words, choose_language, words
from .templating import page

# The field and texts for signing in to each kind of page.
_DOORS = {
    False: {"field": "token", "label": "field.token", "text": "sign_in.text"},
    True: {"field": "workshopPassword", "label": "admin.password", "text": "admin.sign_in"},
}
# Fragments are asked for by scripts, and addresses of the API by programs.
_NOT_FOR_EYES = ("/api/", "/pages/")


class PageRoute(APIRoute):
    """The address of a page: errors are told by pages, too."""


def error_page(request: Request, error: AtelierError) -> Response | None:
    """The page that tells of the error, at the address of a page or an unknown one that a browser looks at; callers
    without access can sign in. None for programs. Redirects if only a trailing slash is too much."""
    route, path = request.scope.get("route"), request.url.path
    if isinstance(route, PageRoute):
        if error.code is Code.UNAUTHORIZED:
            door = _DOORS[path.startswith(("/workshop", "/pages/workshop"))]
            return page("sign_in.html", _translator(request.headers), STATUS[error.code], door=door)
    elif isinstance(route, APIRoute) or not _is_looked_at(request.method, path, request.headers):
        return None
    elif path.endswith("/") and is_page(path.rstrip("/")):
        return RedirectResponse(path.rstrip("/"), 308)
    caller: Caller | None = request.scope.get("caller")
    return _trouble(request.headers, error, is_operator=caller is not None and caller.operator)


def refusal(method: str, path: str, headers: Headers, error: AtelierError) -> Response | None:
    """The page for a browser that is refused; None for a program. It does not reveal what is at the address."""
    if not _is_looked_at(method, path, headers):
        return None
    return _trouble(headers, nothing_here() if error.code is Code.UNAUTHORIZED else error, is_operator=False)


def _is_looked_at(method: str, path: str, headers: Headers) -> bool:
    return method == "GET" and not path.startswith(_NOT_FOR_EYES) and "text/html" in headers.get("accept", "")


def _trouble(headers: Headers, error: AtelierError, *, is_operator: bool) -> Response:
    translator = _translator(headers)
    said = translator.texts.get(f"error.{error.details.get('reason', error.code)}", str(error))
    back = {"href": "/", "key": "trouble.back"} if is_operator else {"href": "/workshop", "key": "trouble.to_workshop"}
    return page("trouble.html", translator, STATUS.get(error.code, 500), said=said, back=back)


def _translator(headers: Headers) -> Words:
    return words(choose_language(headers.get("accept-language", "")))
