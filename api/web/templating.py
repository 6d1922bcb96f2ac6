"""Renders pages from templates, with their security headers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from ..core.formatting import size
from .i18n import Words

_REMEMBERED_FRAGMENTS = 100
_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
# No external sources, nothing inline, no frames: text that a workspace's owner typed cannot become a script.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}


def page(template: str, translator: Words, status: int = 200, **values: Any) -> HTMLResponse:
    """The template as an answer. In it ``t`` gives the reader's words."""
    return html(rendered(template, translator, **values), status)


def html(content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(content, status, headers=HEADERS)


def rendered(template: str, translator: Words, **values: Any) -> str:
    return _environment().get_template(template).render(t=translator, **values)


class FragmentCache:
    """Caches fragments of the newest state, by what else they depend on."""

    def __init__(self) -> None:
        self._state: object = None
        self._made: dict[object, str] = {}

    def get(self, state: object, key: object, make: Callable[[], str]) -> str:
        if state != self._state:
            self._state, self._made = state, {}
        if key not in self._made:
            made = make()
            if len(self._made) >= _REMEMBERED_FRAGMENTS:
                return made  # somebody asks for groups that nobody has
            self._made[key] = made
        return self._made[key]


@cache
def asset(name: str) -> str:
    """A static file's URL, which contains a hash of its content, so browsers can cache it without limit."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"asset": asset, "size": size}
    return environment
