"""Body and answer of the seats' cards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from .answers import Answer, Coded
from .fields import ID, Text
from .projects import Body, example


class MakeCards(Body):
    """For which seats (all, without), and whether they get new passwords."""

    model_config = example({"newPasswords": True})

    project_ids: list[Annotated[Text, Field(json_schema_extra={"pattern": ID})]] | None = Field(
        max_length=1000, default=None, examples=[["abc123def456"]]
    )
    new_passwords: StrictBool | None = None


class Card(Coded):
    projectId: str
    projectName: str
    workspaceUrl: str
    participant: str | None
    password: str | None
    error: str | None


class Cards(Answer):
    success: Literal[True]
    cards: list[Card]
