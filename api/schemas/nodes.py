"""The machines that workspaces run on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .common import Body, Coded, Success, eg, example
from .fields import Text
from .projects import StartedProject


class NodeView(TypedDict):
    name: Annotated[str, eg("alpha", "Its name in the inventory; the controller's is controller.")]
    state: Annotated[str, eg("ready", "ready, down, unknown or disconnected.")]
    availability: Annotated[Literal["active", "paused"], eg("active", "A paused one takes no new workspaces.")]
    takesWorkspaces: Annotated[bool, eg(True, "False for a controller without workspaces.")]
    seats: Annotated[int, eg(12)]
    memoryTotal: Annotated[int, eg(33565573120, "Bytes.")]
    memoryPromised: Annotated[int, eg(25769803776, "Bytes that its running workspaces may use.")]
    memoryUsed: Annotated[int, eg(3221225472, "Bytes that they used at the last sample.")]
    diskTotal: Annotated[int | None, eg(500107862016, "Bytes of Docker's disk; null before it was measured.")]
    diskFree: Annotated[int | None, eg(320072933376, "Bytes that are free there.")]
    cpus: Annotated[float, eg(8)]
    engineVersion: Annotated[str | None, eg("26.1.5", "Docker's; null on a single machine.")]
    address: Annotated[str | None, eg("10.0.0.11")]
    labels: Annotated[dict[str, str], eg({"gpu": "true"})]
    lastSeen: Annotated[str | None, eg("2026-02-14T10:00:00.000Z", "When its Docker Engine last answered.")]


class Nodes(Success):
    nodes: list[NodeView]


class ChangeNode(Body, json_schema_extra=example({"availability": "paused"})):
    """Sets whether the machine takes new workspaces."""

    availability: Literal["active", "paused"]


class MoveProject(Body, json_schema_extra=example({"node": "beta"})):
    """``node``: the machine; null or missing: the one with most free memory. ``from``: where the files come from; a
    checkpoint if the workspace's machine is lost."""

    node: Text | None = None
    origin: Annotated[Literal["machine", "checkpoint", "checkpoint_or_base"] | None, Field(alias="from")] = None


class MovedProject(StartedProject, Coded):
    """The last three are null when nothing was lost."""

    origin: Annotated[str | None, eg("checkpoint", "What it began from.")]
    checkpointTakenAt: Annotated[str | None, eg("2026-04-19T10:00:00.000Z")]
    lost: Annotated[str | None, eg("'Seat 3' begins from its checkpoint of ...", "What was lost, as a sentence.")]
