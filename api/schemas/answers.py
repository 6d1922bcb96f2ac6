"""Answers, as the OpenAPI document describes them.

Handlers send plain dictionaries, so that a long list costs no validation. tests/documented.py holds what is sent
against the document instead: no other key is sent, and a key that is not ``sometimes`` there always is. Clients must
still expect more keys of later versions, so the document does not forbid them."""

from __future__ import annotations

from typing import Any, Literal

from atelier.egress_modes import ProxyMode
from pydantic import BaseModel, Field

Status = Literal["creating", "running", "stopped", "error", "deleted"]


class Answer(BaseModel):
    """Every answer has its shape from one of these."""


def sometimes(description: str, **more: Any) -> Any:
    """A key that an answer does not always have. A plain default would stand in the document, as if it were sent; this
    one is never made."""
    return Field(default_factory=str, description=description, **more)


class Coded(Answer):
    codes: dict[str, Any] = sometimes(
        "The code and the parameters of each sentence here that has one, by its key. Missing where none has.",
        examples=[{"error": {"id": "container_gone", "params": {}}}],
    )


class Error(Answer):
    success: Literal[False]
    error: str = Field(examples=["Project name already exists"])
    message: str
    code: str = Field(examples=["PROJECT_EXISTS"])
    details: dict[str, Any] = Field(description="By field, what is wrong with it; and what belongs to the code.")


class AliasView(Answer):
    subdomain: str = Field(examples=["demo"])
    port: int = Field(examples=[3000])
    url: str = Field(examples=["http://demo.localhost/"])
    basicAuth: bool
    user: str | None
    createdAt: str


class GitRepository(Answer):
    name: str = Field(examples=["my-awesome-project"])
    fullName: str = Field(examples=["developer/my-awesome-project"])
    cloneUrl: str = Field(examples=["http://localhost/git/developer/my-awesome-project.git"])
    webUrl: str = Field(examples=["http://localhost/git/developer/my-awesome-project"])
    branch: str = Field(description="The branch that this workspace works on.", examples=["main"])


class Project(Coded):
    id: str = Field(examples=["abc123def456"])
    projectId: str = Field(examples=["abc123def456"])
    name: str = Field(examples=["my-awesome-project"])
    projectName: str = Field(examples=["my-awesome-project"])
    type: str = Field(examples=["python-flask"])
    projectType: str = Field(examples=["python-flask"])
    status: Status
    error: str | None = Field(
        description="Why its status is error, or why it was stopped for its disk. Null otherwise.", examples=[None]
    )
    createdAt: str = Field(examples=["2024-01-15T10:30:00.000Z"])
    lastActivity: str = Field(examples=["2024-01-15T14:22:00.000Z"])
    lastAccessed: str = Field(
        description="The same as lastActivity, for older clients.", examples=["2024-01-15T14:22:00.000Z"]
    )
    workspaceUrl: str = Field(examples=["http://abc123def456.localhost/"])
    passwordProtected: bool
    hasGitRepo: bool
    gitRepoUrl: str | None
    gitRepository: GitRepository | None
    gitUrl: str | None
    group: str = Field(examples=["workshop-2026"])
    memoryLimit: str = Field(examples=["2g"])
    cpuCores: str = Field(examples=["2"])
    proxyMode: ProxyMode
    notes: str
    clonedFrom: str | None
    aliases: list[AliasView]
    diskUsage: None = Field(description="Always null: GET .../disk-usage measures it.")
    diskWarning: str | None = Field(description="A sentence on a disk that is nearly full, or was.", examples=[None])
    warnings: list[str]


class Resources(Answer):
    cpu: str = Field(examples=["0.8%"])
    memory: str = Field(examples=["1.2GB"])


class ProjectContainer(Answer):
    status: str = Field(examples=["running"])
    health: str = Field(examples=["healthy"])
    uptime: str = Field(examples=["4h 15m"])
    resources: Resources


class DetailedProject(Project):
    container: ProjectContainer


class Done(Answer):
    success: Literal[True]
    message: str = Field(examples=["Notes updated successfully"])


class DoneOnProject(Done):
    projectId: str = Field(examples=["abc123def456"])


class ProjectList(Answer):
    success: Literal[True]
    projects: list[Project]
    count: int


class OneProject(Answer):
    success: Literal[True]
    project: DetailedProject


class CreatedProject(Answer):
    success: Literal[True]
    project: Project
    password: str = sometimes("The password of the request, only in this answer. Missing for an open workspace.")
    warnings: list[str] = sometimes("What could not be done, such as a Git repository. Missing otherwise.")


class StartedProject(Done):
    project: Project


class PasswordChanged(Done):
    passwordProtected: bool


class CloneSeat(Answer):
    projectId: str
    projectName: str
    status: Status


class CloneBegun(Done):
    sourceProjectId: str
    sourceProjectName: str
    clones: list[CloneSeat]
    totalCount: int
    jobId: str


class Groups(Answer):
    success: Literal[True]
    groups: list[str] = Field(examples=[["team-alpha", "workshop-2026"]])


class DiskUsageFigures(Answer):
    bytes: int = Field(examples=[1234567890])
    totalBytes: int = Field(examples=[9876543210])
    readable: str = Field(examples=["1.1 GB"])
    totalReadable: str = Field(examples=["9.2 GB"])
    checkpoints: int = Field(examples=[2])
    checkpointBytes: int = Field(examples=[1234567])
    keptBytes: int = Field(description="Of containers that resets replaced.", examples=[1234567])
    limitBytes: int | None = Field(description="What ``bytes`` may reach; null: no limit.", examples=[21474836480])
    limitReadable: str | None = Field(examples=["20.0 GB"])
    percent: float | None = Field(description="``bytes`` of the limit.", examples=[5.7])


class DiskUsage(Answer):
    success: Literal[True]
    diskUsage: DiskUsageFigures


class NotesAnswer(Answer):
    success: Literal[True]
    notes: str


class Health(Answer):
    status: Literal["ok"] = "ok"
    timestamp: str
    version: str
    uptime: str = Field(examples=["2d 14h 22m"])
    docker: Literal["unavailable"] = sometimes("Only there while the Docker Engine does not answer.")


class Limits(Answer):
    maxConcurrentWorkspaces: int
    cpuPerWorkspace: float
    memoryPerWorkspaceMB: int
    enableResourceLimits: bool


class Features(Answer):
    gitServer: bool
    passwordProtection: bool
    multipleTemplates: bool


class ConfiguredLimits(Answer):
    maxWorkspacesPerUser: int
    workspaceTimeout: int = Field(description="Minutes until an idle workspace is stopped; 0: never.", examples=[120])
    maxMemoryPerWorkspace: str = Field(examples=["4GB"])
    maxCPUPerWorkspace: float


class GitServer(Answer):
    enabled: bool
    url: str = Field(examples=["http://localhost/git/"])
    version: str | None = Field(
        description="Null while the git server does not answer, and where there is none.", examples=["Forgejo 9.0"]
    )


class Implementation(Answer):
    name: Literal["Atelier"]
    version: str = Field(description="The version of Atelier itself.")


class FlatConfiguration(Answer):
    gitServerEnabled: bool
    gitServerUrl: str = Field(examples=["http://localhost/git/"])
    showDiskUsage: bool
    enableProxy: bool
    baseDomain: str = Field(examples=["localhost"])
    basePort: int
    protocol: Literal["http", "https"]


class Configuration(FlatConfiguration):
    platform: str = Field(description="The dialect of the API that clients look for.", examples=["XaresAICoder"])
    version: str = Field(description="The version of the dialect.", examples=["4.2.0"])
    features: Features
    limits: ConfiguredLimits
    gitServer: GitServer
    templates: list[str] = Field(
        description="The templates that a create takes as projectType.", examples=[["empty", "python-flask"]]
    )
    implementation: Implementation


class Config(FlatConfiguration):
    success: Literal[True]
    config: Configuration


class SystemResources(Answer):
    totalMemory: str = Field(examples=["16GB"])
    usedMemory: str = Field(examples=["8.2GB"])
    totalCPU: str = Field(examples=["8 cores"])
    usedCPU: str = Field(examples=["3.2 cores"])
    diskUsage: str = Field(description="Of the disk with the state folder.", examples=["45GB / 500GB"])


class Statistics(Answer):
    totalWorkspaces: int
    runningWorkspaces: int
    stoppedWorkspaces: int
    errorWorkspaces: int
    creatingWorkspaces: int
    totalUsers: int
    systemResources: SystemResources


class Stats(Answer):
    success: Literal[True]
    stats: Statistics


class Cleanup(Done):
    count: int


class JobProgress(Answer):
    done: int
    total: int


class JobSeat(Coded):
    """What a job did to one workspace."""

    projectId: str = Field(examples=["abc123def456"])
    projectName: str | None = Field(description="Null for a workspace that is gone.")
    status: Status = Field(description="deleted: the workspace is gone.")
    error: str | None
    warnings: list[str]


class JobAnswer(Coded):
    id: str
    operation: str
    state: Literal["pending", "running", "successful", "failed", "error", "canceled"]
    projectIds: list[str]
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    progress: JobProgress
    seats: list[JobSeat] = Field(description="Empty until the job has ended.")
    error: str | None


class OneJob(Answer):
    success: Literal[True]
    job: JobAnswer


class JobList(Answer):
    success: Literal[True]
    jobs: list[JobAnswer]


class LogLine(Answer):
    timestamp: str = Field(examples=["1733234567.123"])
    duration: str = Field(examples=["4233"])
    clientIP: str = Field(examples=["172.30.0.16"])
    status: str = Field(examples=["TCP_TUNNEL/200"])
    bytes: str = Field(examples=["5688"])
    method: str = Field(examples=["CONNECT"])
    url: str = Field(examples=["opencode.ai:443"])
    rawLine: str


class SquidLogs(Answer):
    success: Literal[True]
    ipAddress: str = Field(examples=["172.30.0.16"])
    logs: list[LogLine]


class RecordedDomain(Answer):
    count: int
    first_seen: str = Field(examples=["2026-02-14T10:00:00.000Z"])
    last_seen: str = Field(examples=["2026-02-14T11:30:00.000Z"])


class CategorizedDomain(RecordedDomain):
    domain: str = Field(examples=["api.anthropic.com"])


class RecordedDomains(Answer):
    success: Literal[True]
    projectId: str
    ipAddress: str = Field(examples=["172.29.0.16"])
    domains: dict[str, RecordedDomain]
    categorized: dict[str, list[CategorizedDomain]]
    totalDomains: int


class Conversation(Answer):
    timestamp: str = Field(
        description="When it began; DELETE takes it as the conversation's name.", examples=["2026-02-14T10:05:00.123Z"]
    )
    model: str
    provider: str = Field(description="Whose API it looks like.", examples=["anthropic"])
    method: str = Field(examples=["POST"])
    url: str = Field(examples=["https://api.anthropic.com/v1/messages"])
    status: int
    duration_ms: int | None
    first_byte_ms: int | None
    incomplete: bool = Field(description="true: the answer did not come to its end.")
    truncated: bool = Field(description="true: the recorder kept the beginning only.")
    error: str | None
    parsed_request: dict[str, Any] | None = Field(description="model, messages, tools and settings, as far as found.")
    parsed_response: dict[str, Any] = Field(description="model, content, tool calls and usage, as far as found.")
    raw_request: str | None = Field(description="The text of what could not be parsed.")
    raw_response: str | None = Field(description="The text of what could not be parsed.")


class Conversations(Answer):
    success: Literal[True]
    projectId: str
    ipAddress: str = Field(examples=["172.29.0.16"])
    conversations: list[Conversation]
    count: int
    total: int


class Documentation(Answer):
    success: Literal[True]
    projectId: str
    format: Literal["markdown"]
    type: Literal["clean", "detailed"]
    documentation: str
    conversationCount: int


class Whitelist(Answer):
    success: Literal[True]
    domains: list[str] = Field(examples=[[".debian.org", ".github.com"]])
    raw: str
    groups: dict[str, list[str]]


class WhitelistChanged(Answer):
    success: Literal[True]
    domainCount: int
    domains: list[str] = Field(examples=[[".debian.org", ".github.com"]])


class RecordedWhitelisted(WhitelistChanged):
    skipped: list[str] = Field(
        description="Recorded hosts that can't stand on a whitelist, such as bare addresses.", examples=[["10.0.0.7"]]
    )


class AuditEntry(Answer):
    at: str = Field(examples=["2026-04-19T10:00:00.000Z"])
    who: str = Field(examples=["loopback"])
    what: str = Field(examples=["create"])
    workspace: str | None = Field(description="Its id; null for a change of something else.")
    outcome: str = Field(examples=["successful"])
    job: str | None
    sequence: int = Field(description="Grows with each entry, also after the clock was set back.")
    source: str = sometimes("Of a clone: the id of the workspace that was copied. Missing otherwise.")
    role: Literal["operator", "workshop"] = sometimes("Of a sign-in: as what. Missing otherwise.")
    project: str = sometimes("Of a refused change of a port: the workspace's id. Missing otherwise.")
    port: int = sometimes("Of a change of a port: which one. Missing otherwise.")
    count: int = sometimes("How many equal refusals the entry stands for. Missing where it is one.")


class AuditEntries(Answer):
    success: Literal[True]
    entries: list[AuditEntry]


class Repository(Answer):
    name: str = Field(examples=["my-flask-app"])
    fullName: str = Field(examples=["developer/my-flask-app"])
    description: str
    url: str = Field(examples=["http://localhost/git/developer/my-flask-app"])
    cloneUrl: str = Field(examples=["http://localhost/git/developer/my-flask-app.git"])
    private: bool
    createdAt: str = Field(examples=["2024-01-15T10:30:00.000Z"])
    updatedAt: str = Field(examples=["2024-01-15T10:30:00.000Z"])
    defaultBranch: str = Field(examples=["main"])
    branches: list[str] = Field(examples=[["clone/my-flask-app-1", "main"]])
    problem: str | None = Field(examples=[None], description="Why the branches of a damaged one can't be read.")


class Repositories(Answer):
    success: Literal[True]
    repositories: list[Repository]


class RepositoryCreated(Answer):
    success: Literal[True]
    repository: Repository


class CheckpointView(Answer):
    takenAt: str = Field(examples=["2026-04-19T10:00:00.000Z"])


class Checkpoints(Answer):
    success: Literal[True]
    checkpoints: list[CheckpointView]


class CheckpointTaken(DoneOnProject):
    checkpoints: list[CheckpointView]


class Extended(DoneOnProject):
    extendedUntil: str = Field(examples=["2026-04-19T18:30:00.000Z"])
