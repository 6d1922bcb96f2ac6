"""Parts of request and response bodies that several resources share.

Answers are typed dictionaries: mypy checks the handlers' results, FastAPI documents them, and orjson sends them
unchanged. tests/documented.py compares sent answers with the document, so a key that is not NotRequired is always
present. Clients must accept additional keys of later versions, so the document does not forbid them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict


class Body(BaseModel):
    """Unknown keys are ignored; null in an optional field means that it was left out."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


def eg(example: Any, description: str | None = None) -> Any:
    """A key's example and description, as ``Annotated`` takes them."""
    return Field(description=description, examples=[example])


def doc(description: str) -> Any:
    """A key's description, likewise."""
    return Field(description=description)


def example(body: dict[str, Any]) -> dict[str, Any]:
    """A body as the documentation shows it, for ``json_schema_extra``."""
    return {"examples": [body]}


class Coded(TypedDict):
    codes: NotRequired[
        Annotated[
            dict[str, Any],
            eg(
                {"error": {"id": "container_gone", "params": {}}},
                "By key, code and parameters of each sentence that has one; of those in an error's details, under"
                " details. Missing where none has.",
            ),
        ]
    ]


class Error(Coded):
    success: Literal[False]
    error: Annotated[str, eg("Project name already exists")]
    message: str
    code: Annotated[str, eg("PROJECT_EXISTS")]
    details: Annotated[dict[str, Any], doc("Errors by field, and values that belong to the code.")]


class Success(TypedDict):
    success: Literal[True]


class Done(Success):
    message: Annotated[str, eg("Notes updated successfully")]


class DoneOnProject(Done):
    projectId: Annotated[str, eg("abc123def456")]
