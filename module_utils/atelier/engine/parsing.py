"""Converts answers of the Docker Engine to the engine's models."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .models import Container, ContainerStats, Event, Image, SwarmNode


def raise_stream_error(answers: Iterable[Any]) -> None:
    """Reads a stream of progress answers. Its status is 200 already, so a failure is in the stream."""
    from docker.errors import APIError

    for answer in answers:
        reason = answer.get("error") or answer.get("message")
        if reason:
            raise APIError(reason, explanation=reason)


def exec_failed_to_start(code: int, output: str) -> bool:
    """Whether a command was not run, because runc lost its process, which happens rarely. Docker reports it in the
    command's output."""
    lost = output.startswith("OCI runtime exec failed:") and "waiting for init preliminary setup" in output
    return lost and code in (126, 127, 128)


class ExportReader(io.RawIOBase):
    """The pieces of an archive as the file that tarfile wants."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


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
        labels=_labels(raw["Config"]),
        address=next((address for address in addresses if address), None),
        memory=raw["HostConfig"]["Memory"],
        cpus=raw["HostConfig"]["NanoCpus"] / 1e9,
        restarts=raw["RestartCount"],
        finished_at=raw["State"].get("FinishedAt") or "",
        cpu_shares=raw["HostConfig"].get("CpuShares") or 0,
        volumes=[mount["Name"] for mount in raw.get("Mounts") or () if mount.get("Name")],
        started_at=raw["State"].get("StartedAt") or "",
    )


# The name of images that have no other name and that a stopped container uses.
IN_USE = "atelier-in-use"


def image_from(raw: Mapping[str, Any]) -> Image:
    config = raw.get("Config") or {}
    return Image(
        id=raw["Id"],
        tags=[tag for tag in raw.get("RepoTags") or () if not tag.startswith(f"{IN_USE}:")],
        layers=raw["RootFS"].get("Layers") or (),
        labels=_labels(config),
        config=config,
    )


def log_text(stream: bytes) -> str:
    """The text of Docker's output stream for a container without a terminal: frames, each after eight bytes that end
    with its length (attach in the Engine's API). The last one may be cut."""
    text, place = bytearray(), 0
    while len(stream) - place > 8:
        length = int.from_bytes(stream[place + 4 : place + 8])
        text += stream[place + 8 : place + 8 + length]
        place += 8 + length
    return text.decode(errors="replace")


def event_from(raw: Mapping[str, Any]) -> Event:
    labels = raw["Actor"]["Attributes"]
    return Event(raw["Action"], raw["Actor"]["ID"], labels.get("name", ""), labels, raw["timeNano"])


def stats_from(raw: Mapping[str, Any]) -> ContainerStats | None:
    """Converts Docker's statistics; returns None for a container that does not run."""
    if "cpu_stats" not in raw:
        return None
    memory = raw.get("memory_stats") or {}
    known = memory.get("stats") or {}
    # The first names are those of control groups v1, the others of v2. As ``docker stats`` has it, the page cache that
    # can be given back is not the container's.
    cache = known.get("total_inactive_file") or known.get("inactive_file", 0)
    names = ("total_dirty", "total_writeback") if "total_dirty" in known else ("file_dirty", "file_writeback")
    operations = (raw.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return ContainerStats(
        cpu=raw["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory=max(int(memory.get("usage", 0)) - int(cache), 0),
        pending=sum(int(known.get(name, 0)) for name in names),
        written=sum(int(entry["value"]) for entry in operations if str(entry.get("op")).lower() == "write"),
    )


def _labels(config: Mapping[str, Any]) -> dict[str, str]:
    """Without those that a commit can only override with nothing (see image_config.override_config)."""
    return {key: value for key, value in (config.get("Labels") or {}).items() if value}


def swarm_node_from(node: Mapping[str, Any]) -> SwarmNode:
    """An entry of Docker's list of nodes."""
    spec, described, status = node["Spec"], node["Description"], node["Status"]
    resources = described.get("Resources", {})
    return SwarmNode(
        id=node["ID"],
        labels=spec.get("Labels") or {},
        state=status["State"],
        availability=spec["Availability"],
        address=status.get("Addr", ""),
        memory=int(resources.get("MemoryBytes", 0)),
        cpus=resources.get("NanoCPUs", 0) / 1e9,
        engine_version=described.get("Engine", {}).get("EngineVersion", ""),
    )
