"""Bodies of the git calls."""

from __future__ import annotations

from pydantic import Field, StrictBool

from .fields import Text
from .projects import Body, example


class CreateRepository(Body):
    """A new repository; its name as Forgejo takes it."""

    model_config = example({"name": "new-project", "description": "My new project repository", "private": False})

    name: Text = Field(
        examples=["new-project"],
        json_schema_extra={"pattern": "^[A-Za-z0-9_.-]+$", "minLength": 1, "maxLength": 100},
    )
    description: Text | None = Field(default=None, examples=["My new project repository"])
    private: StrictBool | None = None
