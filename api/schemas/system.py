"""Bodies and answers of the platform's own calls, and of the sign-in."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from .common import Body, Coded, Done, Success, doc, eg, example
from .fields import Text


class SignIn(Body, json_schema_extra=example({"token": "the-token-of-this-installation"})):
    """Exactly one of the two: the API's token for the operator, the workshop's password for its page."""

    token: Text | None = None
    workshop_password: Text | None = Field(default=None, examples=["workshop-password"])


class Health(TypedDict):
    status: Literal["ok"]
    timestamp: str
    version: str
    uptime: Annotated[str, eg("2d 14h 22m")]
    docker: NotRequired[Annotated[Literal["unavailable"], doc("Present only while the Docker Engine does not answer.")]]


class Limits(TypedDict):
    maxConcurrentWorkspaces: int
    cpuPerWorkspace: float
    memoryPerWorkspaceMB: int
    enableResourceLimits: bool


class Features(TypedDict):
    gitServer: bool
    passwordProtection: bool
    multipleTemplates: bool


class ConfiguredLimits(TypedDict):
    maxWorkspacesPerUser: int
    workspaceTimeout: Annotated[int, eg(120, "Minutes until an idle workspace is stopped; 0: never.")]
    maxMemoryPerWorkspace: Annotated[str, eg("4GB")]
    maxCPUPerWorkspace: float


class GitServer(TypedDict):
    enabled: bool
    url: Annotated[str, eg("http://localhost/git/")]
    version: Annotated[str | None, eg("Forgejo 9.0", "Null if the git server does not answer or is not installed.")]


class Implementation(TypedDict):
    name: Literal["Atelier"]
    version: Annotated[str, doc("The version of Atelier itself.")]


class FlatConfiguration(TypedDict):
    gitServerEnabled: bool
    gitServerUrl: Annotated[str, eg("http://localhost/git/")]
    showDiskUsage: bool
    enableProxy: bool
    baseDomain: Annotated[str, eg("localhost")]
    basePort: int
    protocol: Literal["http", "https"]


class Configuration(FlatConfiguration):
    platform: Annotated[str, eg("XaresAICoder", "The dialect of the API that clients look for.")]
    version: Annotated[str, eg("4.2.0", "The version of the dialect.")]
    features: Features
    limits: ConfiguredLimits
    gitServer: GitServer
    templates: Annotated[list[str], eg(["empty", "python-flask"], "The templates that a create takes as projectType.")]
    implementation: Implementation


class Config(FlatConfiguration):
    success: Literal[True]
    config: Configuration


class SystemResources(TypedDict):
    totalMemory: Annotated[str, eg("16GB")]
    usedMemory: Annotated[str, eg("8.2GB")]
    totalCPU: Annotated[str, eg("8 cores")]
    usedCPU: Annotated[str, eg("3.2 cores")]
    diskUsage: Annotated[str, eg("45GB / 500GB", "Of the disk with the state folder.")]


class Statistics(TypedDict):
    totalWorkspaces: int
    runningWorkspaces: int
    stoppedWorkspaces: int
    errorWorkspaces: int
    creatingWorkspaces: int
    totalUsers: int
    systemResources: SystemResources


class Stats(Success):
    stats: Statistics


class Cleanup(Done):
    count: int


class AuditEntry(TypedDict):
    at: Annotated[str, eg("2026-04-19T10:00:00.000Z")]
    who: Annotated[str, eg("loopback")]
    what: Annotated[str, eg("create")]
    workspace: Annotated[str | None, doc("Its id; null if the change concerns no workspace.")]
    outcome: Annotated[str, eg("successful")]
    job: str | None
    sequence: Annotated[int, doc("Grows with each entry, also after the clock was set back.")]
    node: NotRequired[
        Annotated[str, eg("alpha", "The workspace's machine, or the one changed. Missing on a single machine.")]
    ]
    source: NotRequired[Annotated[str, doc("Of a clone: the id of the workspace that was copied. Missing otherwise.")]]
    role: NotRequired[Annotated[Literal["operator", "workshop"], doc("Of a sign-in: the role. Missing otherwise.")]]
    project: NotRequired[Annotated[str, doc("Of a refused change of a port: the workspace's id. Missing otherwise.")]]
    port: NotRequired[Annotated[int, doc("Of a change of a port: its number. Missing otherwise.")]]
    count: NotRequired[Annotated[int, doc("Number of equal refusals that the entry represents. Missing if it is one.")]]


class AuditEntries(Success):
    entries: list[AuditEntry]


class FindingView(Coded):
    code: Annotated[str, eg("disk_low", "What was found; docs/runbook.md has a section for each.")]
    severity: Annotated[
        Literal["critical", "warning", "info"], doc("critical: people are hindered now; warning: they will be.")
    ]
    message: Annotated[str, eg("9.1 GB are free on Docker's disk on controller.")]
    labels: Annotated[dict[str, str], eg({"node": "controller"}, "The machine or service, as of the metric.")]
    value: Annotated[float, doc("The metric's value; of a time stamp, the seconds to or since then.")]
    runbook: Annotated[str, eg("/runbook#disk-low", "What to do, as an address of the pages.")]


class Attention(Success):
    findings: Annotated[list[FindingView], doc("The most severe first; empty if all is well.")]
    certificateExpires: Annotated[
        str | None, eg("2027-02-14T10:00:00.000Z", "Of the gateway's certificate; null without one.")
    ]
