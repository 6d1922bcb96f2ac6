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


class PageRoute(APIRoute):
    """The address of a page; its errors are pages, too."""


def error_page(request: Request, error: AtelierError) -> Response | None:
    """The page that tells of the error, at the address of a page or another one that a browser looks at; callers
    without access can sign in to a page. None for programs. Redirects if only a trailing slash is too much."""
    route, path = request.scope.get("route"), request.url.path
    if isinstance(route, PageRoute):
        if error.code is Code.UNAUTHORIZED:
            door = _DOORS[path.startswith(("/workshop", "/pages/workshop"))]
            return page("sign_in.html", _translator(request.headers), STATUS[error.code], door=door)
    elif isinstance(route, APIRoute) or not _is_looked_at(request):
        return None
    elif error.code is Code.UNAUTHORIZED:
        error = nothing_here()  # it does not reveal what is at the address
    elif error.code is Code.NOT_FOUND and path.endswith("/") and is_page(path.rstrip("/")):
        return RedirectResponse(path.rstrip("/"), 308)
    caller: Caller | None = request.scope.get("caller")
    return _trouble(request.headers, error, is_operator=caller is not None and caller.operator)


def _is_looked_at(request: Request) -> bool:
    """Whether a browser shows the answer. Fragments are asked for by scripts, and addresses of the API by programs."""
    is_get = request.method == "GET" and not request.url.path.startswith(("/api/", "/pages/"))
    return is_get and "text/html" in request.headers.get("accept", "")


def _trouble(headers: Headers, error: AtelierError, *, is_operator: bool) -> Response:
    translator = _translator(headers)
    said = translator.texts.get(f"error.{error.details.get('reason', error.code)}", str(error))
    back = {"href": "/", "key": "trouble.back"} if is_operator else {"href": "/workshop", "key": "trouble.to_workshop"}
    return page("trouble.html", translator, STATUS.get(error.code, 500), said=said, back=back)


def _translator(headers: Headers) -> Words:
    return words(choose_language(headers.get("accept-language", "")))
