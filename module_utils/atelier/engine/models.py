"""The values that the engine takes and returns."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..common.errors import AtelierError


@dataclass(frozen=True)
class SeatSpec:
    """A seat's container before it exists. ``memory``, ``disk`` and ``file_size`` are in bytes, the latter two 0 for no
    limit; ``cpus`` is in cores."""

    name: str
    hostname: str
    image: str
    network: str
    address: str
    memory: int
    cpus: float
    labels: Mapping[str, str]
    volume: str
    volume_path: str
    environment: Mapping[str, str]
    # Additional host names with their addresses.
    hosts: Mapping[str, str] = field(default_factory=dict)
    # Limits of its layer and of a single file.
    disk: int = 0
    file_size: int = 0


@dataclass(frozen=True)
class Container:
    """A container's state. ``status``: Docker's state string. ``restarts``: automatic restarts since the last manual
    start. ``started_at``, ``finished_at``: Docker's timestamps of the last start and exit. Limits in bytes and cores;
    ``cpu_shares`` is 0 for Docker's default; ``volumes`` are names."""

    id: str
    name: str
    status: str
    image_id: str
    labels: Mapping[str, str]
    address: str | None
    memory: int
    cpus: float
    restarts: int
    finished_at: str = ""
    cpu_shares: int = 0
    volumes: Sequence[str] = ()
    started_at: str = ""


@dataclass(frozen=True)
class ContainerStats:
    """Resource usage of a running container: seconds of CPU since its start, and bytes. ``memory`` excludes what the
    kernel can reclaim at once; ``pending`` waits to be written to disk; ``written`` counts since its start. Control
    groups v1 count only direct and pending writes of programs."""

    cpu: float
    memory: int
    pending: int
    written: int


@dataclass(frozen=True)
class Size:
    """Bytes on the disk: of the container's own layer, and together with its image."""

    own: int
    total: int


@dataclass(frozen=True)
class Event:
    """A container's event: Docker's name of the action, and the time in nanoseconds of Docker's clock."""

    action: str
    container: str
    name: str
    labels: Mapping[str, str]
    at: int


@dataclass(frozen=True)
class SwarmNode:
    """A machine of a swarm. ``state`` is ready, down, unknown or disconnected; ``availability`` active, pause or drain;
    ``memory`` is in bytes."""

    id: str
    labels: Mapping[str, str]
    state: str
    availability: str
    address: str
    memory: int
    cpus: float
    engine_version: str


@dataclass(frozen=True)
class Image:
    """An image; ``config`` is its run configuration (Env, Entrypoint, ...)."""

    id: str
    tags: Sequence[str]
    layers: Sequence[str]
    labels: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A file to put into a container."""

    path: PurePosixPath
    data: bytes
    uid: int
    gid: int
    mode: int
    mtime: float = 0


@dataclass(frozen=True)
class TarExtract:
    """The content of ``path`` (symbolic links resolved) as a tar archive, with entry names starting at the path's last
    part."""

    path: PurePosixPath
    data: bytes

    def first_file(self) -> bytes | None:
        """The content of its first entry; None when that is no regular file."""
        with tarfile.open(fileobj=io.BytesIO(self.data)) as entries:
            first = entries.next()
            return content_of(entries, first) if first else None


def archive_of(files: Iterable[File], folder: str = ".") -> bytes:
    """A tar archive of the files, with their paths from the folder on."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(str(file.path.relative_to(folder)))
            entry.size, entry.uid, entry.gid, entry.mode = len(file.data), file.uid, file.gid, file.mode
            entry.mtime = file.mtime
            archive.addfile(entry, io.BytesIO(file.data))
    return buffer.getvalue()


def content_of(entries: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | None:
    """A regular file's content; a further hard link to a file counts as a separate file."""
    file = entries.extractfile(entry) if entry.isfile() or entry.islnk() else None
    return file.read() if file else None


class TooLarge(AtelierError):
    """There is more than ``read`` may return."""


@dataclass(frozen=True)
class ImageBuild:
    """An image to be built from a folder. ``dockerfile`` is a file, or its text; ``secrets`` are the files of its build
    secrets by id (a missing file is left out), ``seconds`` the time that the build may take. ``template``: the name of
    the template whose image it is, if it is one's."""

    tag: str
    context: Path
    dockerfile: str | Path
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]
    seconds: float
    args: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
