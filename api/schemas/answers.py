"""Answers, as the OpenAPI document describes them. Extra keys may come; documented ones are always there."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["creating", "running", "stopped", "error", "deleted"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Error(Answer):
    success: Literal[False] = False
    error: str = Field(examples=["Project name already exists"])
    message: str
    code: str = Field(examples=["PROJECT_EXISTS"])
    details: dict[str, Any]


class AliasView(Answer):
    subdomain: str = Field(examples=["demo"])
    port: int = Field(examples=[3000])
    url: str = Field(examples=["http://demo.localhost/"])
    basicAuth: bool
    user: str | None
    createdAt: str


class Project(Answer):
    id: str = Field(examples=["abc123def456"])
    projectId: str = Field(examples=["abc123def456"])
    name: str = Field(examples=["my-awesome-project"])
    projectName: str = Field(examples=["my-awesome-project"])
    type: str = Field(examples=["python-flask"])
    projectType: str = Field(examples=["python-flask"])
    status: Status
    createdAt: str = Field(examples=["2024-01-15T10:30:00.000Z"])
    lastActivity: str = Field(examples=["2024-01-15T14:22:00.000Z"])
    workspaceUrl: str = Field(examples=["http://abc123def456.localhost/"])
    passwordProtected: bool
    hasGitRepo: bool
    gitRepoUrl: str | None
    gitRepository: dict[str, Any] | None
    gitUrl: str | None
    group: str = Field(examples=["workshop-2026"])
    memoryLimit: str = Field(examples=["2g"])
    cpuCores: str = Field(examples=["2"])
    proxyMode: Literal["none", "logging", "security"]
    notes: str
    clonedFrom: str | None
    aliases: list[AliasView]
    diskUsage: dict[str, Any] | None
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
    success: Literal[True] = True
    message: str = Field(examples=["Notes updated successfully"])


class DoneOnProject(Done):
    projectId: str = Field(examples=["abc123def456"])


class ProjectList(Answer):
    success: Literal[True] = True
    projects: list[Project]
    count: int


class OneProject(Answer):
    success: Literal[True] = True
    project: DetailedProject


class CreatedProject(Answer):
    success: Literal[True] = True
    project: Project


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
    success: Literal[True] = True
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
    success: Literal[True] = True
    diskUsage: DiskUsageFigures


class NotesAnswer(Answer):
    success: Literal[True] = True
    notes: str


class Health(Answer):
    status: Literal["ok"] = "ok"
    timestamp: str
    version: str
    uptime: str = Field(examples=["2d 14h 22m"])


class Limits(Answer):
    maxConcurrentWorkspaces: int
    cpuPerWorkspace: float
    memoryPerWorkspaceMB: int
    enableResourceLimits: bool


class Config(Answer):
    success: Literal[True] = True
    config: dict[str, Any]


class Stats(Answer):
    success: Literal[True] = True
    stats: dict[str, Any]


class Cleanup(Done):
    count: int


class JobProgress(Answer):
    done: int
    total: int


class JobAnswer(Answer):
    id: str
    operation: str
    state: Literal["pending", "running", "successful", "failed", "error", "canceled"]
    projectIds: list[str]
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    progress: JobProgress
    seats: list[dict[str, Any]]
    error: str | None


class OneJob(Answer):
    success: Literal[True] = True
    job: JobAnswer


class JobList(Answer):
    success: Literal[True] = True
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
    success: Literal[True] = True
    ipAddress: str = Field(examples=["172.30.0.16"])
    logs: list[LogLine]


class RecordedDomain(Answer):
    count: int
    first_seen: str = Field(examples=["2026-02-14T10:00:00.000Z"])
    last_seen: str = Field(examples=["2026-02-14T11:30:00.000Z"])


class CategorizedDomain(RecordedDomain):
    domain: str = Field(examples=["api.anthropic.com"])


class RecordedDomains(Answer):
    success: Literal[True] = True
    projectId: str
    ipAddress: str = Field(examples=["172.29.0.16"])
    domains: dict[str, RecordedDomain]
    categorized: dict[str, list[CategorizedDomain]]
    totalDomains: int


class Conversations(Answer):
    success: Literal[True] = True
    projectId: str
    ipAddress: str = Field(examples=["172.29.0.16"])
    conversations: list[dict[str, Any]]
    count: int
    total: int


class Documentation(Answer):
    success: Literal[True] = True
    projectId: str
    format: Literal["markdown"]
    type: Literal["clean", "detailed"]
    documentation: str
    conversationCount: int


class Whitelist(Answer):
    success: Literal[True] = True
    domains: list[str] = Field(examples=[[".debian.org", ".github.com"]])
    raw: str
    groups: dict[str, list[str]]


class WhitelistChanged(Answer):
    success: Literal[True] = True
    domainCount: int
    domains: list[str] = Field(examples=[[".debian.org", ".github.com"]])


class AuditEntries(Answer):
    success: Literal[True] = True
    entries: list[dict[str, Any]]


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
    success: Literal[True] = True
    repositories: list[Repository]


class RepositoryCreated(Answer):
    success: Literal[True] = True
    repository: Repository


class CheckpointView(Answer):
    takenAt: str = Field(examples=["2026-04-19T10:00:00.000Z"])


class Checkpoints(Answer):
    success: Literal[True] = True
    checkpoints: list[CheckpointView]


class CheckpointTaken(DoneOnProject):
    checkpoints: list[CheckpointView]


class Extended(DoneOnProject):
    extendedUntil: str = Field(examples=["2026-04-19T18:30:00.000Z"])
