"""Fields of request bodies: strict types, and the core's own checks behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Annotated, Any, TypeVar

from atelier.common.errors import AtelierError
from atelier.common.messages import Message
from atelier.common.models import CPU_COUNTS, MEMORY_SIZES, ProxyMode
from atelier.common.validation import (
    CLONE_COUNT,
    EXTENSION_MINUTES,
    GROUP_LENGTH,
    NAME_LENGTH,
    NOTES_BYTES,
    PASSWORD_LENGTH,
    TITLE_LENGTH,
    check_count,
    check_extension,
    check_group,
    check_name,
    check_notes,
    check_password,
    check_template,
    check_title,
)
from atelier.git.urls import check_git_url
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

T = TypeVar("T")

# The project type for files from a repository, and its template.
TEMPLATE_FROM_GIT = "git-clone"
GIT_TEMPLATE = "empty"

# Templates of this installation. Lets an unknown template be reported as an ordinary field error.
templates_on_offer: ContextVar[Collection[str]] = ContextVar("templates_on_offer", default=())


def checked(check: Callable[[Any], Any]) -> AfterValidator:
    """A check of the core's as a validator."""
    return AfterValidator(lambda value: fault_of(check, value))


def fault_of(check: Callable[..., T], *values: Any) -> T:
    """Returns the result of the core's check; its error becomes the field's fault."""
    try:
        return check(*values)
    except AtelierError as error:
        raise ValueError(error.sentence) from error


def _writable(value: str) -> str:
    """Refuses text that JSON can hold, but files and C strings cannot."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(Message("input.half_character")) from error
    if "\0" in value:
        raise ValueError(Message("input.nul"))
    return value


def _on_offer(template: str) -> str:
    known = templates_on_offer.get()
    if template == TEMPLATE_FROM_GIT and GIT_TEMPLATE in known:
        return template
    if template not in known:
        raise ValueError(Message("input.one_of", value=template[:60], known=", ".join(known)))
    return template


def _cpus_as_text(value: object) -> object:
    """CPU counts may be numbers: 2 means "2"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return next((count for count in CPU_COUNTS if float(count) == value), value)
    return value


def _one_of(*known: str) -> AfterValidator:
    def validate(value: str) -> str:
        if value not in known:
            raise ValueError(Message("input.one_of", value=value[:20], known=", ".join(known)))
        return value

    return AfterValidator(validate)


def _mode(value: object) -> ProxyMode:
    if not isinstance(value, str) or value not in {str(mode) for mode in ProxyMode}:
        raise ValueError(Message("input.choice", expected=", ".join(ProxyMode)))
    return ProxyMode(value)


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is the integer 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(example: object, **schema: Any) -> Any:
    """Describes a field in the OpenAPI document; the core does the checks."""
    return Field(examples=[example], json_schema_extra=schema)


def length(bounds: tuple[int, int]) -> dict[str, object]:
    return {"minLength": bounds[0], "maxLength": bounds[1]}


# Every text of one line, as far as a pattern can express it.
PRINTABLE = "^[^\\x00-\\x1f\\x7f]*$"
ID = "^[0-9a-f]{12}$"
Text = Annotated[StrictStr, AfterValidator(_writable)]
ProjectName = Annotated[
    Text,
    checked(lambda value: check_name(value, "projectName")),
    shown("my-awesome-project", pattern="^[A-Za-z0-9_-]+$", **length(NAME_LENGTH)),
]
Title = Annotated[
    Text,
    checked(check_title),
    shown("New Project Name", pattern="^[A-Za-z0-9_-]([A-Za-z0-9 _-]*[A-Za-z0-9_-])?$", **length(TITLE_LENGTH)),
]
Template = Annotated[
    Text, checked(check_template), AfterValidator(_on_offer), shown("empty", pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
]
Password = Annotated[
    Text, checked(check_password), shown("secure-password-123", pattern=PRINTABLE, **length(PASSWORD_LENGTH))
]
Group = Annotated[
    Text, checked(check_group), shown("workshop-2026", pattern="^[A-Za-z0-9 _-]+$", **length(GROUP_LENGTH))
]
Notes = Annotated[Text, checked(check_notes), shown("Student should complete exercises 1-3.", maxLength=NOTES_BYTES)]
GitUrl = Annotated[
    Text,
    checked(lambda value: check_git_url(value, "gitUrl") if value else value),
    shown("https://git.example.org/team/course.git", maxLength=2048),
]
Whole = Annotated[StrictInt, BeforeValidator(_whole)]
Count = Annotated[Whole, checked(check_count), shown(5, minimum=CLONE_COUNT[0], maximum=CLONE_COUNT[1])]
Minutes = Annotated[
    Whole, checked(check_extension), shown(90, minimum=EXTENSION_MINUTES[0], maximum=EXTENSION_MINUTES[1])
]
Labels = Annotated[
    list[Text], Field(max_length=20, examples=[["gpu=true"]], description="Labels that its machine must have.")
]
Memory = Annotated[Text, _one_of(*MEMORY_SIZES), shown("2g", enum=list(MEMORY_SIZES))]
Cpus = Annotated[
    Text,
    BeforeValidator(_cpus_as_text, json_schema_input_type=str | int),
    _one_of(*CPU_COUNTS),
    shown("2", enum=[*CPU_COUNTS, *map(int, CPU_COUNTS)]),
]
Mode = Annotated[ProxyMode, BeforeValidator(_mode), shown("none")]
