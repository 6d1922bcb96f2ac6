"""Fields of request bodies: strict types, and the core's own checks behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Annotated, Any

from atelier.errors import AtelierError
from atelier.model import CPU_COUNTS, MEMORY_SIZES, ProxyMode
from atelier.validation import check_group, check_name, check_notes, check_password, check_template, check_title
from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

# The templates of the installation that is being asked: so that one that it lacks is a fault of the field like any
# other, and told together with them.
templates_on_offer: ContextVar[Collection[str]] = ContextVar("templates_on_offer", default=())


def checked(check: Callable[[Any], Any]) -> AfterValidator:
    """A check of the core's as a validator: its error becomes this field's fault."""

    def validate(value: Any) -> Any:
        try:
            return check(value)
        except AtelierError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(validate)


def _writable(value: str) -> str:
    """JSON can hold what no file and no C string can."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("The text holds half a character (a lone surrogate).") from error
    if "\0" in value:
        raise ValueError("The text holds a NUL character.")
    return value


def _built(template: str) -> str:
    known = templates_on_offer.get()
    if template not in known:
        known_words = f"Use one of: {', '.join(known)}."
        raise ValueError(f"The template {template[:60]!r} is unknown or not built on this installation. {known_words}")
    return template


def _cpus_as_text(value: object) -> object:
    """CPU counts may be numbers: 2 means "2"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return next((count for count in CPU_COUNTS if float(count) == value), value)
    return value


def _one_of(*known: str) -> AfterValidator:
    def validate(value: str) -> str:
        if value not in known:
            raise ValueError(f"{value[:20]!r} is not on offer. Use one of: {', '.join(known)}.")
        return value

    return AfterValidator(validate)


def _mode(value: object) -> ProxyMode:
    if not isinstance(value, str) or value not in {str(mode) for mode in ProxyMode}:
        raise ValueError(f"Use one of: {', '.join(ProxyMode)}.")
    return ProxyMode(value)


Text = Annotated[StrictStr, AfterValidator(_writable)]
ProjectName = Annotated[Text, checked(lambda value: check_name(value, "projectName"))]
Title = Annotated[Text, checked(check_title), Field(examples=["New Project Name"])]
Template = Annotated[Text, checked(check_template), AfterValidator(_built), Field(examples=["python-flask"])]
Password = Annotated[Text, checked(check_password), Field(examples=["secure-password-123"])]
Group = Annotated[Text, checked(check_group), Field(examples=["workshop-2026"])]
Notes = Annotated[Text, checked(check_notes)]
Memory = Annotated[Text, _one_of(*MEMORY_SIZES), Field(examples=["2g"])]
Cpus = Annotated[Text, BeforeValidator(_cpus_as_text), _one_of(*CPU_COUNTS), Field(examples=["2"])]
Mode = Annotated[ProxyMode, BeforeValidator(_mode)]
