"""Bodies of the workshop calls."""

from __future__ import annotations

from typing import Annotated, Literal

from atelier.rehearsal import MOST_SEATS
from atelier.validation import EMAIL_LENGTH, PERSON_LENGTH, check_email, check_person
from pydantic import Field, StrictBool

from .fields import ID, Text, Whole, checked
from .projects import Body, example


class Rehearse(Body):
    """How many seats, and of which workspace; if left out, as many as the workshop has, of the one they came from."""

    model_config = example({"seats": 20, "projectId": "abc123def456"})

    seats: Whole | None = Field(default=None, ge=1, le=MOST_SEATS, examples=[20])
    project_id: Text | None = Field(default=None, examples=["abc123def456"], json_schema_extra={"pattern": ID})


class TearDown(Body):
    """What goes beyond the seats that are collected."""

    model_config = example({"base": True})

    collected: Literal["ignore"] | None = Field(
        default=None, description="ignore: what was not collected is lost.", examples=["ignore"]
    )
    base: StrictBool | None = Field(
        default=None, description="true: what the seats were cloned from is removed, too.", examples=[True]
    )


class ClaimSeat(Body):
    """Who wants a seat. The access code is needed where the workshop has one."""

    model_config = example({"name": "Max Mustermann", "email": "max@example.com"})

    name: Annotated[Text, checked(check_person)] = Field(
        examples=["Max Mustermann"],
        json_schema_extra={
            "minLength": PERSON_LENGTH[0],
            "maxLength": PERSON_LENGTH[1],
            "pattern": "^[^\\x00-\\x20\\x7f][^\\x00-\\x1f\\x7f]*$",
        },
    )
    email: Annotated[Text, checked(check_email)] = Field(
        examples=["max@example.com"], json_schema_extra={"format": "email", "maxLength": EMAIL_LENGTH}
    )
    access_code: Text | None = None
