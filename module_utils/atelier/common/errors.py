"""The one table of error codes, and the one exception that carries them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from .messages import Message
from .texts import TEXTS


class Code(StrEnum):
    """Error codes, for programs. The first block is the HTTP contract's table."""

    INVALID_PROJECT_NAME = "INVALID_PROJECT_NAME"
    INVALID_PROJECT_TYPE = "INVALID_PROJECT_TYPE"
    PROJECT_EXISTS = "PROJECT_EXISTS"
    INVALID_PASSWORD = "INVALID_PASSWORD"  # noqa: S105 - a code, not a password
    INVALID_WORKSPACE_PASSWORD = "INVALID_WORKSPACE_PASSWORD"  # noqa: S105 - a code, not a password
    PROJECT_NOT_FOUND = "PROJECT_NOT_FOUND"
    WORKSPACE_LIMIT_EXCEEDED = "WORKSPACE_LIMIT_EXCEEDED"
    CONCURRENT_LIMIT_REACHED = "CONCURRENT_LIMIT_REACHED"
    CONTAINER_CREATE_FAILED = "CONTAINER_CREATE_FAILED"
    GIT_REPO_CREATE_FAILED = "GIT_REPO_CREATE_FAILED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    VALIDATION_ERROR = "VALIDATION_ERROR"

    WORKSPACE_BUSY = "WORKSPACE_BUSY"
    TEMPLATE_BUILD_FAILED = "TEMPLATE_BUILD_FAILED"
    IDE_NOT_READY = "IDE_NOT_READY"
    ADDRESSES_EXHAUSTED = "ADDRESSES_EXHAUSTED"
    SNAPSHOT_FAILED = "SNAPSHOT_FAILED"
    DISK_FULL = "DISK_FULL"
    PORT_IN_USE = "PORT_IN_USE"
    GATEWAY_ERROR = "GATEWAY_ERROR"
    CERTIFICATE_ERROR = "CERTIFICATE_ERROR"
    EGRESS_ERROR = "EGRESS_ERROR"
    SQUID_ERROR = "SQUID_ERROR"
    GIT_CLONE_FAILED = "GIT_CLONE_FAILED"
    ARCHIVE_FAILED = "ARCHIVE_FAILED"
    NOT_COLLECTED = "NOT_COLLECTED"
    GIT_ERROR = "GIT_ERROR"
    REPOSITORY_EXISTS = "REPOSITORY_EXISTS"
    ENGINE_ERROR = "ENGINE_ERROR"
    REGISTRY_ERROR = "REGISTRY_ERROR"
    NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
    NO_ROOM = "NO_ROOM"
    BACKUP_FAILED = "BACKUP_FAILED"

    ALIAS_EXISTS = "ALIAS_EXISTS"
    ALIAS_RESERVED = "ALIAS_RESERVED"
    PORT_GUARDED = "PORT_GUARDED"
    ALREADY_CLAIMED = "ALREADY_CLAIMED"
    WORKSHOP_FULL = "WORKSHOP_FULL"
    WORKSHOP_OVER = "WORKSHOP_OVER"
    TOO_MANY_SEATS = "TOO_MANY_SEATS"
    WRONG_ACCESS_CODE = "WRONG_ACCESS_CODE"

    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"
    CANCELED = "CANCELED"
    RUN_FAILED = "RUN_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class AtelierError(Exception):
    """A failure that a person can act on.

    ``message`` says what is wrong with which value, ``remedy`` what to do (by default the message's own), ``field``
    names the parameter at fault, if one is; ``sentence`` is message and remedy together. Values of secret parameters
    are put into none of these.
    """

    def __init__(
        self,
        code: Code,
        message: Message,
        *,
        field: str | None = None,
        remedy: Message | None = None,
        **details: object,
    ) -> None:
        remedy = remedy or message.remedy
        self.code = code
        self.message = message
        self.sentence = message if remedy is None else Message("sentences", first=message, then=remedy)
        self.details: dict[str, object] = dict(details)
        if field is not None:
            self.details["field"] = field
        if remedy is not None:
            self.details["remedy"] = remedy
        super().__init__(self.sentence)


def invalid(id: str, field: str, /, **params: object) -> AtelierError:
    """VALIDATION_ERROR for the parameter ``field``. ``params`` are for the message of that code, whose text may also
    name the field; ``value``, if given, is in the details, too."""
    text = TEXTS[id] + TEXTS.get(f"{id}.remedy", "")
    named = {name: value for name, value in (params | {"field": field}).items() if f"{{{name}" in text}
    details: dict[str, Any] = {"value": params["value"]} if "value" in params else {}
    return AtelierError(Code.VALIDATION_ERROR, Message(id, **named), field=field, **details)


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Raises INTERNAL_ERROR with the workspace's name for an error of the block that nobody thought of, so that it
    concerns this workspace only. The message tells its kind and where it was raised."""
    try:
        yield
    except AtelierError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} ({Path(place.filename).name}:{place.lineno})"
        raise AtelierError(Code.INTERNAL_ERROR, Message("made_fail", name=name, kind=kind)) from error
