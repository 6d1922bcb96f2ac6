"""Errors in the HTTP contract's format, with one table of statuses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atelier.common.atomic_files import no_space
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, tagged
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from .responses import JSON

log = logging.getLogger(__name__)

STATUS: Mapping[Code, int] = {
    Code.INVALID_PROJECT_NAME: 400,
    Code.INVALID_PROJECT_TYPE: 400,
    Code.PROJECT_EXISTS: 400,
    Code.INVALID_PASSWORD: 400,
    Code.VALIDATION_ERROR: 400,
    Code.WORKSPACE_BUSY: 409,
    Code.REPOSITORY_EXISTS: 409,
    Code.NOT_COLLECTED: 409,
    Code.INVALID_WORKSPACE_PASSWORD: 401,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.PROJECT_NOT_FOUND: 404,
    Code.NOT_FOUND: 404,
    Code.ALIAS_EXISTS: 409,
    Code.PORT_GUARDED: 409,
    Code.ALIAS_RESERVED: 422,
    Code.ALREADY_CLAIMED: 409,
    Code.WORKSHOP_FULL: 503,
    Code.WORKSHOP_OVER: 403,
    Code.TOO_MANY_SEATS: 409,
    Code.WRONG_ACCESS_CODE: 403,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.WORKSPACE_LIMIT_EXCEEDED: 409,
    Code.CONCURRENT_LIMIT_REACHED: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.TOO_MANY_ATTEMPTS: 429,
    Code.CONTAINER_CREATE_FAILED: 500,
    Code.GIT_REPO_CREATE_FAILED: 500,
    Code.SERVICE_UNAVAILABLE: 503,
    Code.ADDRESSES_EXHAUSTED: 503,
    Code.DISK_FULL: 503,
    Code.REGISTRY_ERROR: 503,
    Code.NODE_UNAVAILABLE: 503,
    Code.NO_ROOM: 409,
    Code.BACKUP_FAILED: 500,
}

# Fields with a specific code in the contract's table.
_FIELD_CODES: Mapping[str, Code] = {
    "projectName": Code.INVALID_PROJECT_NAME,
    "projectType": Code.INVALID_PROJECT_TYPE,
    "password": Code.INVALID_PASSWORD,
    "newPassword": Code.INVALID_PASSWORD,
    "name": Code.INVALID_PROJECT_NAME,
}

# The core's names of fields that the contract names differently.
_FIELD_NAMES: Mapping[str, str] = {
    "name": "projectName",
    "template": "projectType",
    "memory": "memoryLimit",
    "cpus": "cpuCores",
    "proxy_mode": "proxyMode",
    "source": "projectId",
    "workspace_id": "projectId",
    "git_url": "gitUrl",
    "git_username": "gitUsername",
    "git_token": "gitToken",
    "date_from": "dateFrom",
    "date_to": "dateTo",
}
_CODES: Mapping[Code, Code] = {Code.IDE_NOT_READY: Code.CONTAINER_CREATE_FAILED}

_HTTP_ERRORS: Mapping[int, tuple[Code, Message]] = {
    400: (Code.VALIDATION_ERROR, Message("input.no_json")),
    404: (Code.NOT_FOUND, Message("api.nothing_here")),
    405: (Code.METHOD_NOT_ALLOWED, Message("api.no_such_method")),
    413: (Code.PAYLOAD_TOO_LARGE, Message("api.body_large")),
}
# The sentences for Pydantic's types of errors, and the parameter that its context has for them.
_FINDINGS: Mapping[str, tuple[str, ...]] = {
    "missing": ("input.required",),
    "json_invalid": ("input.no_json",),
    "model_attributes_type": ("input.no_object",),
    "model_type": ("input.no_object",),
    "dict_type": ("input.no_object",),
    "string_type": ("input.no_text",),
    "string_unicode": ("input.half_character",),
    "int_type": ("input.no_integer",),
    "int_parsing": ("input.no_integer",),
    "int_from_float": ("input.no_integer",),
    "bool_type": ("input.no_boolean",),
    "bool_parsing": ("input.no_boolean",),
    "list_type": ("input.no_list",),
    "too_long": ("input.list_long", "max_length"),
    "greater_than_equal": ("input.at_least", "ge"),
    "less_than_equal": ("input.at_most", "le"),
    "literal_error": ("input.choice", "expected"),
    "enum": ("input.choice", "expected"),
}
_CLONE_REFUSED = Message("api.not_cloned")


def error_body(code: Code, sentence: str, details: Mapping[str, object], message: str | None = None) -> dict[str, Any]:
    """The answer's keys. ``codes`` has the codes of its sentences by key, and those of ``details``, whose keys are
    fields, under that."""
    body = tagged({"success": False, "error": sentence, "message": message or sentence, "code": str(code)})
    body["details"] = tagged(details)
    if in_details := body["details"].pop("codes", None):
        body.setdefault("codes", {})["details"] = in_details
    return dict(body)


def error_response(error: AtelierError, *, of_project: bool = True) -> JSON:
    """Converts an AtelierError to the contract's answer; codes without a status become 500. ``of_project``: whether the
    core's field ``name`` is a project's."""
    details = {key: value for key, value in error.details.items() if key != "field"}
    field = error.details.get("field")
    if isinstance(field, str):
        is_other_name = field == "name" and not of_project
        details.setdefault(field if is_other_name else _FIELD_NAMES.get(field, field), error.sentence)
    code = _CODES.get(error.code, error.code)
    retry = {"Retry-After": str(error.details["retry_after"])} if "retry_after" in error.details else {}
    body = error_body(code, error.message, details, error.sentence)
    return JSON(body, STATUS.get(code, 500), headers=retry)


def validation_response(
    errors: Sequence[Mapping[str, Any]], *, of_clone: bool = False, of_project: bool = True
) -> JSON:
    """Converts Pydantic's errors, by field. One field with its own code gives that code, everything else
    VALIDATION_ERROR."""
    details: dict[str, str] = {}
    for finding in errors:
        details.setdefault(_field(finding), _sentence(finding))
    code = Code.VALIDATION_ERROR
    if len(details) == 1 and of_project:
        code = _FIELD_CODES.get(next(iter(details)), code)
    message = " ".join(f"{field}: {fault}" for field, fault in details.items())
    sentence: str = Message("input.failed") if code is Code.VALIDATION_ERROR else next(iter(details.values()))
    return JSON(error_body(code, _CLONE_REFUSED if of_clone else sentence, details, message), 400)


def _field(finding: Mapping[str, Any]) -> str:
    if finding["type"] == "json_invalid":
        return "body"  # its place is a position in the text
    place = [str(part) for part in finding["loc"] if part not in ("body", "query", "path", "header")]
    # A field that was left out is called by its attribute's name.
    return ".".join(_FIELD_NAMES.get(part, part) if "_" in part else part for part in place) or "body"


def _sentence(finding: Mapping[str, Any]) -> Message:
    context = finding.get("ctx", {})
    if isinstance(own := context.get("error"), ValueError):
        return as_message(own.args[0])
    if finding["type"] not in _FINDINGS:
        return Message("input.invalid", said=finding["msg"])
    id, *names = _FINDINGS[finding["type"]]
    # A list of choices is English at its end.
    return Message(id, **{name: str(context[name]).replace(" or ", ", ") for name in names})


def nothing_here() -> AtelierError:
    return AtelierError(Code.NOT_FOUND, Message("api.nothing_here"))


def install(
    app: FastAPI, routes: Sequence[BaseRoute], page: Callable[[Request, AtelierError], Response | None]
) -> None:
    """Registers the error handlers, so that every error has the contract's shape, or is a ``page``."""

    @app.exception_handler(AtelierError)
    async def atelier_error(request: Request, error: AtelierError) -> Response:
        if _is_clone(request) and STATUS.get(error.code) in (400, 409):
            # As the contract has it: one status and sentence for all causes, the cause in ``message``.
            return JSON(error_body(error.code, _CLONE_REFUSED, error.details, error.message), 400)
        return page(request, error) or error_response(error, of_project=_is_of_project(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        of_clone, of_project = _is_clone(request), _is_of_project(request)
        told = page(request, nothing_here())
        return told or validation_response(error.errors(), of_clone=of_clone, of_project=of_project)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and (told := page(request, nothing_here())):
            return told
        other = (Code.VALIDATION_ERROR, Message("input.invalid", said=error.detail))
        code, sentence = _HTTP_ERRORS.get(error.status_code, other)
        body = error_body(code, sentence, {"body": sentence} if error.status_code == 400 else {})
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(request, routes) or headers.get("Allow", "")
        return JSON(body, error.status_code, headers=headers)

    @app.exception_handler(OSError)
    async def full_disk(request: Request, error: OSError) -> Response:
        full = no_space(error)
        if full is None:
            raise error
        return page(request, full) or error_response(full)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("%s %a failed", request.method, request.url.path, exc_info=error)
        failed = AtelierError(Code.INTERNAL_ERROR, Message("api.unforeseen"))
        return page(request, failed) or error_response(failed)


def _is_clone(request: Request) -> bool:
    return request.url.path.endswith("/clone")


def _is_of_project(request: Request) -> bool:
    """Whether a ``name`` in it is a project's: not where it is a repository's or a participant's."""
    return not request.url.path.startswith(("/api/git/", "/api/workshop/claim"))


def _allowed(request: Request, routes: Sequence[BaseRoute]) -> str:
    """All methods of the address, which may be spread over several routes."""
    here = request.scope.get("route")
    if not isinstance(here, APIRoute) or request.method in (here.methods or ()):
        return ""
    same = [route for route in routes if isinstance(route, APIRoute) and route.path == here.path]
    same = [route for route in same if route.include_in_schema] or same
    return ", ".join(sorted({method for route in same for method in route.methods or ()}))
