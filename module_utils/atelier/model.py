"""The words of the domain: frozen data, no behaviour beyond what the data itself says."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

from .egress_modes import ProxyMode as ProxyMode

MIB = 1024**2
GIB = 1024**3
# The sizes that the HTTP contract names, in bytes.
MEMORY_SIZES: Mapping[str, int] = {f"{n}g": n * GIB for n in (1, 2, 4, 8, 16)}
CPU_COUNTS: tuple[str, ...] = ("1", "2", "4", "8")
IDE_PORT = 8082  # code-server's port inside every seat
CLONE = "clone"  # a workspace's git_pending: the repository at its git_url is still to be fetched
GIT_HOST = "git.internal"  # the git server's name in the seats


class Status(StrEnum):
    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    ERROR = "error"


@dataclass(frozen=True)
class Network:
    """A Docker network that seats are put on, the range of their fixed addresses, and their proxy's port."""

    name: str
    subnet: IPv4Network
    proxy_port: int | None = None

    @property
    def host_address(self) -> str:
        """The bridge's own address, by which seats reach the host: Docker gives it the range's first."""
        return str(next(self.subnet.hosts()))


@dataclass(frozen=True)
class Quotas:
    """Site-wide ceilings. ``max_*`` count workspaces; CPU is in cores, memory in MiB."""

    max_workspaces_per_user: int
    max_concurrent_workspaces: int
    enforce_resources: bool
    cpu_per_workspace: float
    memory_per_workspace_mb: int


def address(protocol: str, host: str, port: int) -> str:
    """``http://host:port``; the port is left out where the protocol implies it."""
    implied = (protocol, port) in {("http", 80), ("https", 443)}
    return f"{protocol}://{host}{'' if implied else f':{port}'}"


@dataclass(frozen=True)
class GitServer:
    """Where the repositories are. All belong to ``owner``; ``base_url`` is what people open, no slash at its end.

    ``service`` is embedded or forgejo, ``socket`` the Unix socket that its HTTP API answers on, ``credentials`` the
    file with the service account's, ``seat_port`` the port by which seats reach it on their bridge's own address.
    """

    service: str
    owner: str
    socket: Path
    credentials: Path
    seat_port: int
    base_url: str

    def web_url(self, repository: str) -> str:
        return f"{self.base_url}/{self.owner}/{repository}"

    def clone_url(self, repository: str) -> str:
        """For people; a seat has ``seat_url``."""
        return f"{self.web_url(repository)}.git"

    def seat_url(self, repository: str) -> str:
        """What ``origin`` is in a seat."""
        return f"http://{GIT_HOST}:{self.seat_port}/git/{self.owner}/{repository}.git"


@dataclass(frozen=True)
class ArchiveLimits:
    """What the archive of one seat may hold at most, and how long it may take. What a checkpoint or a clone copies of
    one may have as many bytes."""

    entries: int = 1_000_000
    content_bytes: int = 20 * GIB
    seconds: float = 300


@dataclass(frozen=True)
class Builds:
    """What template images are built from: the IDE's image, a site's own folders of templates, the host's settings of
    the package managers. ``seconds`` is what one build may take."""

    ide_image: str
    template_dirs: tuple[Path, ...]
    pip_conf: Path
    npmrc: Path
    seconds: float


@dataclass(frozen=True)
class Site:
    """One installation: where its state lives, how its seats are reached, what they may use."""

    instance: str
    state_dir: Path
    engine_url: str
    image_prefix: str
    domain: str
    port: int
    protocol: str
    networks: Mapping[ProxyMode, Network]
    quotas: Quotas
    git: GitServer | None = None  # None: this installation has no git server
    archive: ArchiveLimits = ArchiveLimits()
    builds: Builds | None = None  # None: this installation builds no template images
    # Bytes that a seat's files may take together, and a single file of it; 0: no limit.
    seat_disk: int = 0
    seat_file_size: int = 0
    # A secret of the installation (container_names); None until its first change.
    names_key: bytes | None = field(default=None, repr=False)

    def template_image(self, template: str) -> str:
        return f"{self.image_prefix}/workspace:{template}"

    def public_name(self, workspace_id: str) -> str:
        """Twelve hexadecimal digits for a workspace, for places that other seats see: nobody finds its id by them."""
        if self.names_key is None:
            return workspace_id
        return hmac.digest(self.names_key, workspace_id.encode(), "sha256").hex()[:12]

    def container_name(self, workspace_id: str) -> str:
        """Docker tells it to every seat on the same network."""
        if self.names_key is None:
            return f"{self.instance}-{workspace_id}"
        return f"{self.instance}-seat-{self.public_name(workspace_id)}"

    def volume_name(self, workspace_id: str) -> str:
        """Of the volume with the IDE's configuration; no other seat sees it."""
        return f"{self.instance}-{workspace_id}"

    def workspace_url(self, workspace_id: str) -> str:
        """The address a browser opens."""
        return f"{address(self.protocol, f'{workspace_id}.{self.domain}', self.port)}/"


@dataclass(frozen=True)
class Limits:
    """What one seat may use. ``memory`` is a key of MEMORY_SIZES, ``cpus`` one of CPU_COUNTS."""

    memory: str = "2g"
    cpus: str = "2"

    @property
    def memory_bytes(self) -> int:
        return MEMORY_SIZES[self.memory]


class Workspace(NamedTuple):
    """A registry row: what people want of a workspace, and what became of it.

    A named tuple, since a list makes thousands of them: a frozen dataclass of this width costs ten times as much.
    """

    id: str
    name: str
    template: str
    address: str
    created_at: str
    last_activity: str
    owner: str
    group: str | None
    notes: str
    password_hash: str | None
    cloned_from: str | None
    git_url: str | None
    # The name of its repository on the git server, and the branch that it pushes to; None until it has one.
    repository: str | None
    branch: str | None
    # What is left to do before it is what was asked for: CLONE, or None.
    git_pending: str | None
    # Why it has no repository, or no branch of its own, although it should; a sentence.
    git_problem: str | None
    # Part of the name of the IDE's session cookie: another word ends all sessions, also where the password stays.
    sessions: str
    batch: str | None
    error: str | None
    status: Status
    proxy_mode: ProxyMode
    limits: Limits

    @property
    def has_repository(self) -> bool:
        """Whether its files are in a repository of the git server. A clone's are in its source's, on main at least."""
        return self.repository is not None and (self.branch is not None or self.cloned_from is not None)

    @property
    def password_protected(self) -> bool:
        return self.password_hash is not None
