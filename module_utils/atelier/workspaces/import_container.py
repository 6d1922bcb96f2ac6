"""Rebuilds a lost database row from its container."""

from __future__ import annotations

import re

from ..common.egress_modes import DEFAULT_MODE
from ..common.models import CPU_COUNTS, MEMORY_SIZES, Limits, ProxyMode, Status, Workspace
from ..containers.container import CONFIG_FOLDER
from ..containers.context import NodeContext
from ..database.workspace_store import now
from ..engine.models import Container

_PASSWORD_HASH = re.compile(rb'^hashed-password: "(.+)"$', re.MULTILINE)
_SESSIONS = re.compile(rb"^cookie-suffix: ([0-9a-z]+)$", re.MULTILINE)
_CONFIG_BYTES = 65536


def row_from_container(context: NodeContext, id: str, container: Container) -> Workspace:
    """Rebuilds a row from the container's labels; unknown values become defaults."""
    labels = container.labels
    memory, cpus = _limits_of(container, context.engine.cpus())
    mode = labels.get("atelier.proxy_mode", "")
    config = context.engine.read(container.id, f"{CONFIG_FOLDER}/config.yaml", _CONFIG_BYTES)
    password = _PASSWORD_HASH.search(config.data) if config else None
    sessions = _SESSIONS.search(config.data) if config else None
    name = labels.get("atelier.name", id)
    if context.store.find(name=name):
        name = f"{name} {id}"
    return Workspace(
        id=id,
        name=name,
        template=labels.get("atelier.template", "empty"),
        address=container.address or "",
        node=context.node,
        node_labels=labels.get("atelier.node_labels", ""),
        created_at=labels.get("atelier.created_at", now()),
        last_activity=now(),
        owner=labels.get("atelier.owner", "default"),
        group=labels.get("atelier.group"),
        password_hash=password.group(1).decode() if password else None,
        cloned_from=labels.get("atelier.cloned_from"),
        git_url=labels.get("atelier.git_url"),
        repository=labels.get("atelier.repository"),
        sessions=sessions.group(1).decode() if sessions else "",
        status=Status.RUNNING if container.status == "running" else Status.STOPPED,
        proxy_mode=ProxyMode(mode) if mode in set(ProxyMode) else DEFAULT_MODE,
        limits=Limits(memory, cpus),
    )


def _limits_of(container: Container, machine_cpus: int) -> tuple[str, str]:
    """The container's present limits; labels cannot change. CPUs may be capped to the machine's."""
    memory = next((size for size, value in MEMORY_SIZES.items() if value == container.memory), Limits.memory)
    cpus = container.labels.get("atelier.cpus", "")
    if cpus in CPU_COUNTS and min(float(cpus), machine_cpus) == container.cpus:
        return memory, cpus
    return memory, next((count for count in CPU_COUNTS if float(count) == container.cpus), Limits.cpus)
