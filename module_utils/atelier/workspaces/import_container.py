"""Rebuilds a lost database row from its container."""

from __future__ import annotations

import re
from typing import Any

from ..common.egress_modes import DEFAULT_MODE
from ..common.models import CPU_COUNTS, MEMORY_SIZES, Limits, ProxyMode, Status, Workspace
from ..containers.container import CONFIG_FOLDER, LABELED
from ..containers.context import NodeContext
from ..database.workspace_store import now
from ..engine.models import Container

_PASSWORD_HASH = re.compile(rb'^hashed-password: "(.+)"$', re.MULTILINE)
_SESSIONS = re.compile(rb"^cookie-suffix: ([0-9a-z]+)$", re.MULTILINE)
_CONFIG_BYTES = 65536


def row_from_container(context: NodeContext, id: str, container: Container) -> Workspace:
    """Rebuilds a row from the container's labels; unknown values become defaults."""
    found: dict[str, Any] = {"name": id, "template": "empty", "created_at": now()}
    found |= {field: label for field in LABELED if (label := container.labels.get(f"atelier.{field}"))}
    if context.store.find(name=found["name"]):
        found["name"] += f" {id}"
    if found.get("proxy_mode") in set(ProxyMode):
        found["proxy_mode"] = ProxyMode(found["proxy_mode"])
    else:
        found["proxy_mode"] = DEFAULT_MODE
    config = context.engine.read(container.id, f"{CONFIG_FOLDER}/config.yaml", _CONFIG_BYTES)
    if config and (password := _PASSWORD_HASH.search(config.data)):
        found["password_hash"] = password[1].decode()
    if config and (sessions := _SESSIONS.search(config.data)):
        found["sessions"] = sessions[1].decode()
    return Workspace(
        **found,
        id=id,
        address=container.address or "",
        node=context.node,
        last_activity=now(),
        status=Status.RUNNING if container.status == "running" else Status.STOPPED,
        limits=_limits_of(container, context.engine.cpus()),
    )


def _limits_of(container: Container, machine_cpus: int) -> Limits:
    """The container's present limits; labels cannot change. CPUs may be capped to the machine's."""
    memory = next((size for size, value in MEMORY_SIZES.items() if value == container.memory), Limits.memory)
    cpus = container.labels.get("atelier.cpus", "")
    if cpus in CPU_COUNTS and min(float(cpus), machine_cpus) == container.cpus:
        return Limits(memory, cpus)
    return Limits(memory, next((count for count in CPU_COUNTS if float(count) == container.cpus), Limits.cpus))
