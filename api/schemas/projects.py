"""Bodies and answers of the project calls."""

from __future__ import annotations

from typing import Annotated, NotRequired

from atelier.common.egress_modes import DEFAULT_MODE, USE_PROXY_MODE, ProxyMode
from atelier.common.messages import Message
from atelier.common.models import Status, StopReason
from atelier.common.validation import check_password
from atelier.git.urls import check_git_access
from pydantic import Field, StrictBool, ValidationInfo, field_validator
from typing_extensions import TypedDict

from .aliases import AliasView
from .common import Body, Coded, Done, DoneOnProject, Success, doc, eg, example
from .fields import (
    GIT_TEMPLATE,
    TEMPLATE_FROM_GIT,
    Count,
    Cpus,
    GitUrl,
    Group,
    Labels,
    Memory,
    Minutes,
    Mode,
    Notes,
    Password,
    ProjectName,
    Template,
    Text,
    Title,
    fault_of,
)
from .jobs import JobBegun


class CreateProject(
    Body,
    json_schema_extra=example(
        {
            "projectName": "my-awesome-project",
            "projectType": "python-flask",
            "passwordProtected": True,
            "password": "secure-password-123",
            "createGitRepo": True,
        }
    ),
):
    """A new workspace."""

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
    nodes: Labels | None = None

    @field_validator("password")
    @classmethod
    def _only_if_used(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Forms send an empty password for a workspace that is to be open: it is checked only where it counts."""
        wanted = info.data.get("password_protected")
        if wanted is False or (wanted is None and value is None):
            return None
        if value is None:
            raise ValueError(Message("input.requires", given="passwordProtected: true", other="password"))
        return fault_of(check_password, value)

    @field_validator("git_url")
    @classmethod
    def _only_with_its_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("project_type")
        if kind == TEMPLATE_FROM_GIT and not value:
            raise ValueError(Message("input.requires", given=f"projectType: {TEMPLATE_FROM_GIT}", other="gitUrl"))
        if kind not in (TEMPLATE_FROM_GIT, None) and value:
            raise ValueError(Message("input.requires", given="gitUrl", other=f"projectType: {TEMPLATE_FROM_GIT}"))
        return value or None

    @field_validator("git_token")
    @classmethod
    def _opens_something(cls, value: str | None, info: ValidationInfo) -> str | None:
        access = fault_of(check_git_access, info.data.get("git_username"), value)
        if access is not None and "git_url" in info.data and info.data["git_url"] is None:
            raise ValueError(Message("input.requires", given="gitToken", other="gitUrl"))
        return value or None

    @property
    def template(self) -> str:
        return GIT_TEMPLATE if self.project_type == TEMPLATE_FROM_GIT else self.project_type

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


class WorkspacePassword(Body, json_schema_extra=example({"password": "workspace-password"})):
    """The password of a protected workspace, for start, stop and delete."""

    password: Text | None = Field(default=None, examples=["workspace-password"])


class ChangePassword(
    Body, json_schema_extra=example({"currentPassword": "old-password", "newPassword": "new-secure-password"})
):
    """Exactly one of ``newPassword`` and ``removePassword: true``."""

    current_password: Text | None = Field(default=None, examples=["old-password"])
    new_password: Password | None = None
    remove_password: StrictBool | None = None


class CloneProject(Body, json_schema_extra=example({"count": 5, "password": "optional-student-password"})):
    """The number of clones, and a password for all of them; without one they are open."""

    count: Count
    password: Password | None = None
    nodes: Labels | None = Field(default=None, description="Labels of the machines; if left out, those of the source.")


class ExtendProject(Body, json_schema_extra=example({"minutes": 90})):
    """The extension in minutes from now; default: the timeout, or an hour without a timeout."""

    minutes: Minutes | None = None


class ChangeNotes(Body, json_schema_extra=example({"notes": "Updated instructions for this workspace."})):
    """Free text that replaces the present notes."""

    notes: Notes


class Rename(Body, json_schema_extra=example({"name": "New Project Name"})):
    """The new display name."""

    name: Title


class ChangeGroup(Body, json_schema_extra=example({"group": "workshop-2026"})):
    """The new group; null for none."""

    group: Group | None


class GitRepository(TypedDict):
    name: Annotated[str, eg("my-awesome-project")]
    fullName: Annotated[str, eg("developer/my-awesome-project")]
    cloneUrl: Annotated[str, eg("http://localhost/git/developer/my-awesome-project.git")]
    webUrl: Annotated[str, eg("http://localhost/git/developer/my-awesome-project")]
    branch: Annotated[str, eg("main", "The branch that this workspace works on.")]


class Project(Coded):
    id: Annotated[str, eg("abc123def456")]
    projectId: Annotated[str, eg("abc123def456")]
    name: Annotated[str, eg("my-awesome-project")]
    projectName: Annotated[str, eg("my-awesome-project")]
    type: Annotated[str, eg("python-flask")]
    projectType: Annotated[str, eg("python-flask")]
    status: Status
    stoppedFor: Annotated[
        StopReason | None,
        eg(
            None,
            "Why it was stopped on purpose: idle (starts on a visit by default), end of the workshop, disk or person.",
        ),
    ]
    error: Annotated[
        str | None, eg(None, "Why its status is error, or why it was stopped for its disk. Null otherwise.")
    ]
    createdAt: Annotated[str, eg("2024-01-15T10:30:00.000Z")]
    lastActivity: Annotated[str, eg("2024-01-15T14:22:00.000Z")]
    lastAccessed: Annotated[str, eg("2024-01-15T14:22:00.000Z", "The same as lastActivity, for older clients.")]
    workspaceUrl: Annotated[str, eg("http://abc123def456.localhost/")]
    passwordProtected: bool
    hasGitRepo: bool
    gitRepoUrl: str | None
    gitRepository: GitRepository | None
    gitUrl: str | None
    group: Annotated[str, eg("workshop-2026")]
    memoryLimit: Annotated[str, eg("2g")]
    cpuCores: Annotated[str, eg("2")]
    proxyMode: ProxyMode
    notes: str
    clonedFrom: str | None
    node: Annotated[str, eg("controller", "The machine that it is on.")]
    imageOutdated: Annotated[
        bool, eg(False, "Whether its template has a newer image, which POST .../upgrade gives it.")
    ]
    aliases: list[AliasView]
    diskUsage: Annotated[None, doc("Always null: GET .../disk-usage measures it.")]
    diskWarning: Annotated[str | None, eg(None, "A warning about its disk use.")]
    warnings: list[str]


class Resources(TypedDict):
    cpu: Annotated[str, eg("0.8%")]
    memory: Annotated[str, eg("1.2GB")]


class ProjectContainer(TypedDict):
    status: Annotated[str, eg("running")]
    health: Annotated[str, eg("healthy")]
    uptime: Annotated[str, eg("4h 15m")]
    resources: Resources


class DetailedProject(Project):
    container: ProjectContainer


class ProjectList(Success):
    projects: list[Project]
    count: int


class OneProject(Success):
    project: DetailedProject


class CreatedProject(Success, Coded):
    project: Project
    password: NotRequired[
        Annotated[str, doc("The password of the request, only in this answer. Missing for an open workspace.")]
    ]
    warnings: NotRequired[
        Annotated[
            list[str], doc("Failed optional steps, such as creating a Git repository. Missing if there are none.")
        ]
    ]


class StartedProject(Done):
    project: Project


class UpgradedProject(StartedProject):
    upgraded: Annotated[bool, eg(True, "False for a workspace that had its template's present image.")]


class UpgradeProjects(Body, json_schema_extra=example({"group": "spring-2027"})):
    """Either ``group`` or ``all``."""

    group: Group | None = None
    all: StrictBool = False


class UpgradeBegun(JobBegun):
    projectIds: list[str]


class PasswordChanged(Done):
    passwordProtected: bool


class CloneSeat(TypedDict):
    projectId: str
    projectName: str
    status: Status


class CloneBegun(Done):
    sourceProjectId: str
    sourceProjectName: str
    clones: list[CloneSeat]
    totalCount: int
    jobId: str


class Groups(Success):
    groups: Annotated[list[str], eg(["team-alpha", "workshop-2026"])]


class DiskUsageFigures(TypedDict):
    bytes: Annotated[int, eg(1234567890)]
    totalBytes: Annotated[int, eg(9876543210)]
    readable: Annotated[str, eg("1.1 GB")]
    totalReadable: Annotated[str, eg("9.2 GB")]
    checkpoints: Annotated[int, eg(2)]
    checkpointBytes: Annotated[int, eg(1234567)]
    keptBytes: Annotated[int, eg(1234567, "Size of containers that resets replaced.")]
    limitBytes: Annotated[int | None, eg(21474836480, "Limit of ``bytes``; null: no limit.")]
    limitReadable: Annotated[str | None, eg("20.0 GB")]
    percent: Annotated[float | None, eg(5.7, "``bytes`` of the limit.")]


class DiskUsage(Success):
    diskUsage: DiskUsageFigures


class NotesAnswer(Success):
    notes: str


class CheckpointView(TypedDict):
    takenAt: Annotated[str, eg("2026-04-19T10:00:00.000Z")]


class Checkpoints(Success):
    checkpoints: list[CheckpointView]


class CheckpointTaken(DoneOnProject, Coded):
    checkpoints: list[CheckpointView]
    warnings: NotRequired[
        Annotated[list[str], doc("Why the image registry does not have it. Missing if it has, or on a single machine.")]
    ]


class Extended(DoneOnProject):
    extendedUntil: Annotated[str, eg("2026-04-19T18:30:00.000Z")]
