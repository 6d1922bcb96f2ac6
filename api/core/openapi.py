"""Corrections of FastAPI's OpenAPI document, above all of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..schemas.common import Error

_EXAMPLES: dict[int, tuple[str, str, str]] = {
    400: ("A field of the request is invalid.", "VALIDATION_ERROR", "Validation failed"),
    401: ("The password or the token is missing or wrong.", "INVALID_WORKSPACE_PASSWORD", "Invalid password"),
    403: ("The Host or Origin is not the platform's own.", "FORBIDDEN", "Changes are taken from own pages only"),
    404: ("It does not exist.", "PROJECT_NOT_FOUND", "Project not found"),
    409: ("A limit is reached, or another operation is running.", "CONCURRENT_LIMIT_REACHED", "No running slots left"),
    413: (
        "The body is 1 MiB or larger; for calls without authentication, larger than 16 KiB.",
        "PAYLOAD_TOO_LARGE",
        "The body is too large.",
    ),
    422: ("The name is a reserved word.", "ALIAS_RESERVED", "The subdomain is reserved"),
    429: ("Too many wrong passwords; see Retry-After.", "TOO_MANY_ATTEMPTS", "Too many wrong passwords"),
    500: (
        "The operation failed; the answer says why.",
        "CONTAINER_CREATE_FAILED",
        "Docker could not create the container",
    ),
    503: ("Docker does not answer, the disk is full, or the feature is off.", "SERVICE_UNAVAILABLE", "Not available"),
}
_FASTAPIS_422 = {"$ref": "#/components/schemas/HTTPValidationError"}
# The response of the event stream.
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}, "description": "Events."}}
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these error statuses, and of those that any request may get."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400, 401, 403, 413, 503}):
        description, code, sentence = _EXAMPLES[status]
        example = {"success": False, "error": sentence, "message": sentence, "code": code, "details": {}}
        documented[status] = {
            "model": Error,
            "description": description,
            "content": {"application/json": {"example": example}},
        }
    return documented


def document(app: FastAPI, kinds: Sequence[str]) -> dict[str, Any]:
    """The document, made once. Bad requests are 400 here, never FastAPI's 422. ``kinds``: the project types that this
    installation has."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for methods in made["paths"].values():
            for operation in methods.values():
                answers = operation["responses"]
                if "422" in answers and _schema(answers["422"]) == _FASTAPIS_422:
                    answers.pop("422")
                # Errors are JSON also where the answer itself is a stream or plain text.
                for answer in (answers[status] for status in answers if int(status) >= 400):
                    example = answer["content"]["application/json"].get("example")
                    answer["content"] = {"application/json": {"schema": _schema(answer), "example": example}}
        for name in _FASTAPIS_OWN:
            made["components"]["schemas"].pop(name, None)
        made["components"]["schemas"]["CreateProject"]["properties"]["projectType"]["enum"] = list(kinds)
        app.openapi_schema = made
    return app.openapi_schema


def _schema(answer: dict[str, Any]) -> Any:
    """A response's schema, under any media type."""
    return next(content["schema"] for content in answer["content"].values() if "schema" in content)
