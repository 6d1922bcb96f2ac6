"""The interface to the container engine. ``client.DockerEngine`` implements it.

The interface is deliberately small and knows no host names.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ..common.errors import AtelierError

# Bytes that a program in a container may print, unless the caller expects more or less.
MOST_OUTPUT = 1024**2


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


def content_of(entries: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | None:
    """A regular file's content; a further hard link to a file counts as a separate file."""
    file = entries.extractfile(entry) if entry.isfile() or entry.islnk() else None
    return file.read() if file else None


def is_too_large(error: AtelierError) -> bool:
    """Whether ``read`` raised the error because there is more than its ``limit``. A time limit is no number there."""
    return isinstance(error.details.get("limit"), int)


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


class Engine(Protocol):
    """The operations of a container engine.

    Everything raises SERVICE_UNAVAILABLE (of a node: NODE_UNAVAILABLE) when the engine can't be reached, DISK_FULL when
    it has no space left, and ENGINE_ERROR with the engine's own words otherwise. Containers are named by name or id.

    ``execute`` runs a program by its absolute path, with the platform's PATH, and returns exit code and output. It
    raises ENGINE_ERROR, with ``limit`` in its details, if that takes longer than ``seconds`` or prints more than
    ``limit`` bytes, so that no container can delay a caller for longer. ``logs`` and ``read`` are limited,
    too. ``events`` follows what happens from the call on, without end.
    """

    def cpus(self) -> int: ...
    def create(self, spec: SeatSpec) -> str: ...
    def create_from_copy(self, spec: SeatSpec, base: str, label: str) -> str: ...
    def start(self, container: str) -> None: ...
    def stop(self, container: str) -> None: ...
    def restart(self, container: str) -> None: ...
    def kill(self, container: str) -> None: ...
    def remove(self, container: str) -> None: ...
    def rename(self, container: str, name: str) -> None: ...
    def pause(self, container: str) -> None: ...
    def unpause(self, container: str) -> None: ...
    def thaw(self, container: str) -> None: ...
    def update_limits(self, container: str, memory: int, cpus: float) -> None: ...
    def stats(self, container: str) -> ContainerStats | None: ...
    def sizes(self, *labels: str) -> dict[str, Size]: ...
    def written(self, container: str) -> int: ...
    def inspect(self, container: str) -> Container | None: ...
    def containers(self, label: str) -> list[Container]: ...
    def images_in_use(self, label: str) -> set[str]: ...
    def container_names(self, label: str) -> dict[str, str]: ...
    def events(self, label: str) -> Iterator[Event]: ...
    def past_events(self, label: str, since: int) -> list[Event]: ...
    def put(self, container: str, folder: str, files: Sequence[File]) -> None: ...
    def read(
        self, container: str, path: str, limit: int, follow: Callable[[PurePosixPath], bool] = ...
    ) -> TarExtract | None: ...
    def stream(self, container: str, path: str, patience: float) -> Generator[bytes]: ...
    def unpack(self, container: str, folder: str, archive: Iterator[bytes]) -> None: ...
    def execute(
        self, container: str, command: Sequence[str], *, seconds: float, limit: int = MOST_OUTPUT, user: str = ""
    ) -> tuple[int, str]: ...
    def logs(self, container: str, lines: int) -> str: ...
    def image(self, reference: str) -> Image | None: ...
    def images(self, label: str) -> list[Image]: ...
    def image_tags(self, label: str) -> list[str]: ...
    def layer_size(self, reference: str) -> int: ...
    def build(self, build: ImageBuild, report: Callable[[float, int, int], None]) -> None: ...
    def commit(self, container: str, tag: str, config: Mapping[str, Any]) -> Image: ...
    def flatten(self, container: str, tag: str, config: Mapping[str, Any]) -> Image: ...
    def tag(self, image: str, reference: str) -> None: ...
    def push(self, reference: str) -> None: ...
    def pull(self, reference: str) -> Image: ...
    def save(self, references: Sequence[str]) -> Generator[bytes]: ...
    def load(self, archive: Iterator[bytes]) -> None: ...
    def free_space(self) -> int: ...
    def swarm_nodes(self) -> list[SwarmNode]: ...
    def swarm_id(self) -> str: ...
    def set_availability(self, node_id: str, availability: str) -> None: ...
    def remove_node(self, node_id: str) -> None: ...
    def remove_image(self, reference: str, *, force: bool = False) -> bool: ...
    def volumes(self, label: str) -> list[str]: ...
    def remove_volume(self, volume: str) -> bool: ...
