"""Bodies of the project routes. Attributes are snake_case; aliases make the contract's camelCase of them."""

from __future__ import annotations

from typing import Annotated

from atelier.errors import AtelierError
from atelier.model import ProxyMode
from atelier.validation import check_count, check_password
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from .fields import Cpus, Group, Memory, Mode, Notes, Password, ProjectName, Template, Text, Title, checked


class Body(BaseModel):
    """Unknown keys are ignored; null in an optional field means that it was left out."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class CreateProject(Body):
    """A new workspace."""

    project_name: ProjectName = Field(examples=["my-awesome-project"])
    project_type: Template
    password_protected: StrictBool | None = None
    password: Text | None = Field(default=None, validate_default=True, examples=["secure-password-123"])
    create_git_repo: StrictBool | None = None
    proxy_mode: Mode | None = None
    use_proxy: StrictBool | None = Field(default=None, description="Of older clients: true means logging.")
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

    @property
    def mode(self) -> ProxyMode:
        if self.proxy_mode is not None:
            return self.proxy_mode
        return ProxyMode.LOGGING if self.use_proxy else ProxyMode.NONE


class WorkspacePassword(Body):
    """What start, stop and delete take: the password of a protected workspace."""

    password: Text | None = Field(default=None, examples=["workspace-password"])


class ChangePassword(Body):
    """Exactly one of ``newPassword`` and ``removePassword: true``."""

    current_password: Text | None = Field(default=None, examples=["old-password"])
    new_password: Password | None = Field(default=None, examples=["new-secure-password"])
    remove_password: StrictBool | None = None


class CloneProject(Body):
    count: Annotated[StrictInt, checked(check_count)] = Field(examples=[5])
    password: Password | None = Field(default=None, examples=["student-pw-123"])


class ChangeNotes(Body):
    notes: Notes = Field(examples=["Updated instructions for this workspace."])


class Rename(Body):
    name: Title


class ChangeGroup(Body):
    group: Group | None = Field(examples=["workshop-2026"])


def _checked_password(value: str) -> str:
    try:
        return check_password(value)
    except AtelierError as error:
        raise ValueError(str(error)) from error
