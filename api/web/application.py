"""The pages as a part of the API's application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles

from .i18n import languages
from .routes import operator, workshop
from .templating import STATIC, FragmentCache


def install(app: FastAPI) -> None:
    """Adds the pages and their files to the API's application. Raises ValueError for a faulty file of words."""
    languages()
    app.state.pages = FragmentCache()
    for of in (operator.router, workshop.for_all, workshop.for_workshop):
        app.include_router(of)
    app.mount("/static", _Files(directory=STATIC), name="static")


class _Files(StaticFiles):
    """Files whose addresses change with their content (see ``asset``)."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        answer = super().file_response(*arguments, **more)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer
