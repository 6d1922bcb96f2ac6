"""The recorder's settings, written by the role: a JSON file with one key for each field below."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Ceilings. Bytes are bytes on disk, ``buffer_bytes`` is memory for bodies under way in the whole recorder,
    ``max_connections`` those of one seat."""

    retention_days: int = 30
    max_conversations: int = 2000
    max_conversation_bytes: int = 4 * 1024**2
    max_workspace_bytes: int = 512 * 1024**2
    buffer_bytes: int = 64 * 1024**2
    max_connections: int = 256


@dataclass(frozen=True)
class Settings:
    """Paths are those inside the container; networks are CIDR texts."""

    listen_host: str
    listen_port: int
    client_network: str
    refused_networks: tuple[str, ...]
    allowed_networks: tuple[str, ...]
    providers: tuple[Mapping[str, str], ...]
    workspaces_file: Path
    recordings_dir: Path
    ca_file: Path
    upstream_ca: Path
    limits: Limits


def read_settings(path: Path) -> Settings:
    """Raises OSError, ValueError, KeyError or TypeError when the file is not the role's: then it must not run."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    limits = Limits(**{field.name: int(raw.pop(field.name)) for field in fields(Limits)})
    for name in ("workspaces_file", "recordings_dir", "ca_file", "upstream_ca"):
        raw[name] = Path(raw[name])
    for name in ("refused_networks", "allowed_networks", "providers"):
        raw[name] = tuple(raw[name])
    return Settings(limits=limits, **raw)
