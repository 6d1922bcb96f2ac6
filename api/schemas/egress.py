"""Bodies and answers of the egress calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from .common import Body, Coded, Success, doc, eg, example
from .fields import Group, Text


class ChangeWhitelist(Body, json_schema_extra=example({"domains": ["api.anthropic.com", "github.com"]})):
    """Domains to allow besides the base ones. With a group, the group's own list."""

    domains: list[Text] = Field(examples=[["api.anthropic.com", "github.com"]])
    group: Group | None = None


class WhitelistOfRecorded(Body, json_schema_extra=example({"group": "workshop-2026"})):
    """The whitelist to change: everybody's, or a group's."""

    group: Group | None = None


class GenerateDocumentation(Body, json_schema_extra=example({"format": "markdown", "type": "clean"})):
    """``detailed`` also has tools with their arguments, parameters and reasoning."""

    format: Literal["markdown"] = "markdown"
    type: Literal["clean", "detailed"] = "clean"


class FromMachines(Success):
    unanswered: NotRequired[
        Annotated[
            Sequence[str],
            eg(["beta"], "The machines that did not answer: what they have is not included. Missing if all did."),
        ]
    ]


class Forgotten(FromMachines):
    message: Annotated[str, eg("All conversations deleted successfully")]


class LogLine(TypedDict):
    timestamp: Annotated[str, eg("1733234567.123")]
    duration: Annotated[str, eg("4233")]
    clientIP: Annotated[str, eg("172.30.0.16")]
    status: Annotated[str, eg("TCP_TUNNEL/200")]
    bytes: Annotated[str, eg("5688")]
    method: Annotated[str, eg("CONNECT")]
    url: Annotated[str, eg("opencode.ai:443")]
    rawLine: str


class SquidLogs(FromMachines):
    ipAddress: Annotated[str, eg("172.30.0.16")]
    logs: list[LogLine]


class RecordedDomain(TypedDict):
    count: int
    first_seen: Annotated[str, eg("2026-02-14T10:00:00.000Z")]
    last_seen: Annotated[str, eg("2026-02-14T11:30:00.000Z")]


class CategorizedDomain(RecordedDomain):
    domain: Annotated[str, eg("api.anthropic.com")]


class RecordedDomains(FromMachines):
    projectId: str
    ipAddress: Annotated[str, eg("172.29.0.16")]
    domains: dict[str, RecordedDomain]
    categorized: dict[str, list[CategorizedDomain]]
    totalDomains: int


class Conversation(TypedDict):
    timestamp: Annotated[
        str, eg("2026-02-14T10:05:00.123Z", "When it began; DELETE takes it as the conversation's name.")
    ]
    model: str
    provider: Annotated[str, eg("anthropic", "Whose API it looks like.")]
    method: Annotated[str, eg("POST")]
    url: Annotated[str, eg("https://api.anthropic.com/v1/messages")]
    status: int
    duration_ms: int | None
    first_byte_ms: int | None
    incomplete: Annotated[bool, doc("true: the response is incomplete.")]
    truncated: Annotated[bool, doc("true: only the beginning was recorded.")]
    error: str | None
    parsed_request: Annotated[dict[str, Any] | None, doc("model, messages, tools and settings, as far as found.")]
    parsed_response: Annotated[dict[str, Any], doc("model, content, tool calls and usage, as far as found.")]
    raw_request: Annotated[str | None, doc("Text that could not be parsed.")]
    raw_response: Annotated[str | None, doc("Text that could not be parsed.")]


class Conversations(FromMachines):
    projectId: str
    ipAddress: Annotated[str, eg("172.29.0.16")]
    conversations: list[Conversation]
    count: int
    total: int


class Documentation(FromMachines):
    projectId: str
    format: Literal["markdown"]
    type: Literal["clean", "detailed"]
    documentation: str
    conversationCount: int


class Whitelist(Success):
    domains: Annotated[Sequence[str], eg([".debian.org", ".github.com"])]
    raw: str
    groups: Mapping[str, Sequence[str]]


class NodeBehind(Coded):
    node: Annotated[str, eg("beta")]
    error: Annotated[str, eg("The machine beta does not have the change yet: The machine beta does not answer.")]


class WhitelistChanged(Success):
    nodesBehind: NotRequired[
        Annotated[list[NodeBehind], doc("The machines that do not have the change yet; missing if there are none.")]
    ]
    domainCount: int
    domains: Annotated[Sequence[str], eg([".debian.org", ".github.com"])]


class RecordedWhitelisted(WhitelistChanged, FromMachines):
    skipped: Annotated[
        Sequence[str], eg(["10.0.0.7"], "Recorded hosts that cannot be whitelisted, such as bare addresses.")
    ]
