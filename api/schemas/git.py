"""Bodies and answers of the git calls."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from .common import Body, Coded, Success, eg, example
from .fields import Text, shown


class CreateRepository(
    Body,
    json_schema_extra=example({"name": "new-project", "description": "My new project repository", "private": False}),
):
    """A new repository; its name as Forgejo takes it."""

    name: Annotated[Text, shown("new-project", pattern="^[A-Za-z0-9_.-]+$", minLength=1, maxLength=100)]
    description: Text | None = Field(default=None, examples=["My new project repository"])
    private: StrictBool | None = None


class Repository(Coded):
    name: Annotated[str, eg("my-flask-app")]
    fullName: Annotated[str, eg("developer/my-flask-app")]
    description: str
    url: Annotated[str, eg("http://localhost/git/developer/my-flask-app")]
    cloneUrl: Annotated[str, eg("http://localhost/git/developer/my-flask-app.git")]
    private: bool
    createdAt: Annotated[str, eg("2024-01-15T10:30:00.000Z")]
    updatedAt: Annotated[str, eg("2024-01-15T10:30:00.000Z")]
    defaultBranch: Annotated[str, eg("main")]
    branches: Annotated[list[str], eg(["clone/my-flask-app-1", "main"])]
    problem: Annotated[str | None, eg(None, "Why the branches of a damaged repository cannot be read.")]


class Repositories(Success):
    repositories: list[Repository]


class RepositoryCreated(Success):
    repository: Repository
