"""What the Docker Engine answers, as the port's plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .engine import Container, Image


def container_from(raw: Mapping[str, Any]) -> Container:
    networks = raw["NetworkSettings"]["Networks"] or {}
    # A stopped container has no address now, but keeps the one it was given.
    addresses = [
        (network.get("IPAMConfig") or {}).get("IPv4Address") or network.get("IPAddress")
        for network in networks.values()
    ]
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        status=raw["State"]["Status"],
        image_id=raw["Image"],
        labels=raw["Config"].get("Labels") or {},
        address=next((address for address in addresses if address), None),
        memory=raw["HostConfig"]["Memory"],
        cpus=raw["HostConfig"]["NanoCpus"] / 1e9,
        restarts=raw["RestartCount"],
    )


def image_from(raw: Mapping[str, Any]) -> Image:
    config = raw.get("Config") or {}
    return Image(
        id=raw["Id"],
        tags=raw.get("RepoTags") or (),
        layers=raw["RootFS"].get("Layers") or (),
        labels=config.get("Labels") or {},
        config=config,
    )


def memory_in(figures: Mapping[str, Any]) -> int:
    """Bytes that a container has in use, by its statistics. As ``docker stats`` does it: the page cache that can be
    given back is not the container's. 0 for one that does not run."""
    memory = figures["memory_stats"]
    known = memory.get("stats", {})
    # The one name is that of the kernel's first version of control groups, the other of its second.
    cache = known.get("total_inactive_file") or known.get("inactive_file", 0)
    return max(int(memory.get("usage", 0)) - int(cache), 0)
