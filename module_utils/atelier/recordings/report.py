"""Summarises a workspace's recordings, for people and playbooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.egress_modes import Capability, modes_that_can
from ..common.errors import invalid
from ..common.models import Workspace
from ..egress.categories import Categories
from .document import write_document
from .folders import Recorded
from .store import all_conversations, count_conversations, domains


def check_recorded(workspace: Workspace) -> Workspace:
    """Raises VALIDATION_ERROR for a workspace whose traffic does not pass the recorder."""
    if not workspace.proxy_mode.can(Capability.RECORD):
        modes = " or ".join(modes_that_can(Capability.RECORD))
        name = workspace.name
        raise invalid("nothing_recorded", "name", name=name, value=name, mode=workspace.proxy_mode, modes=modes)
    return workspace


def recorded_domains(recorded: Recorded, categories: Categories) -> dict[str, Any]:
    """``domains`` by name, ``categorized`` by category, ``total_domains``."""
    found = domains(recorded)
    return {"domains": found, "categorized": categories.group(found), "total_domains": len(found)}


def document(recorded: Recorded, workspace: Workspace, kind: str) -> dict[str, Any]:
    """``document``, the Markdown text, and ``conversation_count``."""
    written = write_document(all_conversations(recorded), kind=kind, name=workspace.name)
    return {"document": written.text, "conversation_count": written.conversation_count}


def report(recorded: Recorded, workspace: Workspace, categories: Categories, kind: str | None) -> Mapping[str, Any]:
    """Both; without a kind of document, only the number of conversations. ``unanswered`` are the machines whose
    recordings are missing."""
    return {
        "workspace": {"id": workspace.id, "name": workspace.name, "address": workspace.address},
        "unanswered": list(recorded.unanswered),
        **recorded_domains(recorded, categories),
        **(
            document(recorded, workspace, kind)
            if kind is not None
            else {"conversation_count": count_conversations(recorded)}
        ),
    }
