"""Fields of request bodies: strict types, and the core's own checks behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from atelier.errors import AtelierError
from atelier.model import CPU_COUNTS, MEMORY_SIZES, ProxyMode
from atelier.validation import check_group, check_name, check_notes, check_password, check_template, check_title
from pydantic import AfterValidator, BeforeValidator, Field, StrictStr


def checked(check: Callable[[Any], Any]) -> AfterValidator:
    """A check of the core's as a validator: its error becomes this field's fault."""

    def validate(value: Any) -> Any:
        try:
            return check(value)
        except AtelierError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(validate)


def _cpus_as_text(value: object) -> object:
    """CPU counts may be numbers: 2 means "2"."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return str(int(value))
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


ProjectName = Annotated[StrictStr, checked(lambda value: check_name(value, "projectName"))]
Title = Annotated[StrictStr, checked(check_title), Field(examples=["New Project Name"])]
Template = Annotated[StrictStr, checked(check_template), Field(examples=["python-flask"])]
Password = Annotated[StrictStr, checked(check_password), Field(examples=["secure-password-123"])]
Group = Annotated[StrictStr, checked(check_group), Field(examples=["workshop-2026"])]
Notes = Annotated[StrictStr, checked(check_notes)]
Memory = Annotated[StrictStr, _one_of(*MEMORY_SIZES), Field(examples=["2g"])]
Cpus = Annotated[StrictStr, BeforeValidator(_cpus_as_text), _one_of(*CPU_COUNTS), Field(examples=["2"])]
Mode = Annotated[ProxyMode, BeforeValidator(_mode)]
