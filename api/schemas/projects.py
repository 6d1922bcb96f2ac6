"""Bodies of the project routes. Attributes are snake_case; aliases make the contract's camelCase of them."""

from __future__ import annotations

from typing import Any

from atelier.egress_modes import DEFAULT_MODE, USE_PROXY_MODE, ProxyMode
from atelier.errors import AtelierError
from atelier.git_address import check_git_access
from atelier.validation import check_password
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from .fields import (
    GIT_CLONE,
    GIT_TEMPLATE,
    Count,
    Cpus,
    GitUrl,
    Group,
    Memory,
    Minutes,
    Mode,
    Notes,
    Password,
    ProjectName,
    Template,
    Text,
    Title,
)


class Body(BaseModel):
    """Unknown keys are ignored; null in an optional field means that it was left out."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


def example(body: dict[str, Any]) -> ConfigDict:
    """A body as the documentation shows it."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class CreateProject(Body):
    """A new workspace."""

    model_config = example(
        {
            "projectName": "my-awesome-project",
            "projectType": "python-flask",
            "passwordProtected": True,
            "password": "secure-password-123",
            "createGitRepo": True,
        }
    )

    project_name: ProjectName
    project_type: Template
    password_protected: StrictBool | None = None
    password: Text | None = Field(default=None, validate_default=True, examples=["secure-password-123"])
    create_git_repo: StrictBool | None = None
    git_url: GitUrl | None = Field(default=None, validate_default=True)
    git_username: Text | None = Field(default=None, examples=["ann"])
    git_token: Text | None = Field(default=None, validate_default=True, examples=["a-token"])
    proxy_mode: Mode | None = None
    use_proxy: StrictBool | None = Field(default=None, description=f"Of older clients: true means {USE_PROXY_MODE}.")
    memory_limit: Memory | None = None
    cpu_cores: Cpus | None = None
    group: Group | None = None
    notes: Notes | None = None

    @field_validator("password")
    @classmethod
    def _only_if_used(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Forms send an empty password for a workspace that is to be open: it is checked only where it counts."""
        wanted = info.data.get("password_protected")
        if wanted is False or (wanted is None and value is None):
            return None
        if value is None:
            raise ValueError("A password is needed when passwordProtected is true.")
        return _checked_password(value)

    @field_validator("git_url")
    @classmethod
    def _only_with_its_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("project_type")
        if kind == GIT_CLONE and not value:
            raise ValueError("A gitUrl is needed when projectType is git-clone.")
        if kind not in (GIT_CLONE, None) and value:
            raise ValueError("A gitUrl is only for the projectType git-clone.")
        return value or None

    @field_validator("git_token")
    @classmethod
    def _opens_something(cls, value: str | None, info: ValidationInfo) -> str | None:
        try:
            access = check_git_access(info.data.get("git_username"), value)
        except AtelierError as error:
            raise ValueError(str(error)) from error
        if access is not None and "git_url" in info.data and info.data["git_url"] is None:
            raise ValueError("There is a gitToken and no gitUrl that it is for.")
        return value or None

    @property
    def template(self) -> str:
        return GIT_TEMPLATE if self.project_type == GIT_CLONE else self.project_type

    @property
    def secrets(self) -> dict[str, str]:
        """Variables of the playbook that no job record may hold."""
        given = {"workspace_git_username": self.git_username, "workspace_git_token": self.git_token}
        return {name: value for name, value in given.items() if value}

    @property
    def mode(self) -> ProxyMode:
        if self.proxy_mode is not None:
            return self.proxy_mode
        return USE_PROXY_MODE if self.use_proxy else DEFAULT_MODE


class WorkspacePassword(Body):
    """What start, stop and delete take: the password of a protected workspace."""

    model_config = example({"password": "workspace-password"})

    password: Text | None = Field(default=None, examples=["workspace-password"])


class ChangePassword(Body):
    """Exactly one of ``newPassword`` and ``removePassword: true``."""

    model_config = example({"currentPassword": "old-password", "newPassword": "new-secure-password"})

    current_password: Text | None = Field(default=None, examples=["old-password"])
    new_password: Password | None = None
    remove_password: StrictBool | None = None


class CloneProject(Body):
    """How many, and one password for all of them; without one they are open."""

    model_config = example({"count": 5, "password": "optional-student-password"})

    count: Count
    password: Password | None = None


class ExtendProject(Body):
    """For how long from now; as long as the timeout, or an hour where there is none, if left out."""

    model_config = example({"minutes": 90})

    minutes: Minutes | None = None


class ChangeNotes(Body):
    """Free text; it takes the place of what was there."""

    model_config = example({"notes": "Updated instructions for this workspace."})

    notes: Notes


class Rename(Body):
    """The new display name."""

    model_config = example({"name": "New Project Name"})

    name: Title


class ChangeGroup(Body):
    """The new group; null for none."""

    model_config = example({"group": "workshop-2026"})

    group: Group | None


def _checked_password(value: str) -> str:
    try:
        return check_password(value)
    except AtelierError as error:
        raise ValueError(str(error)) from error
