"""The domain's data types: frozen, without behaviour beyond their data."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from .declared import SIZE
from .egress_modes import DEFAULT_MODE
from .egress_modes import ProxyMode as ProxyMode

MIB = 1024**2
GIB = 1024**3
# The sizes that the HTTP contract names, in bytes.
MEMORY_SIZES: Mapping[str, int] = {f"{n}g": n * GIB for n in (1, 2, 4, 8, 16)}
CPU_COUNTS: tuple[str, ...] = ("1", "2", "4", "8")
IDE_PORT = 8082  # code-server's port inside every seat
GIT_IMPORT = "clone"  # a workspace's git_pending: the repository at its git_url is still to be fetched
CONTROLLER = "controller"  # the node that Ansible, the API and the front gateway run on
GIT_HOST = "git.internal"  # the git server's name in the seats


class Status(StrEnum):
    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    ERROR = "error"


class StopReason(StrEnum):
    """Why a workspace was stopped on purpose."""

    IDLE = "idle"
    # Of its workshop.
    END = "end"
    DISK = "disk"
    PERSON = "person"


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
class Node:
    """A machine besides the controller that seats run on."""

    name: Annotated[str, "The machine's name in the inventory."]
    engine_url: Annotated[str, "Where its Docker Engine answers, such as V(https://10.0.0.11:2376)."]
    gateway: Annotated[str, "Host and port of its gateway; empty where the controller reaches its seats directly."] = ""
    labels: Annotated[Mapping[str, str] | None, "Labels for constraints on where workspaces are put."] = None


@dataclass(frozen=True)
class Quotas:
    """Site-wide ceilings."""

    max_workspaces_per_user: Annotated[int, "Ceiling for one owner's workspaces, running or not."]
    max_concurrent_workspaces: Annotated[int, "Ceiling for workspaces that run at once."]
    enable_resource_limits: Annotated[bool, "Whether the ceilings of one workspace hold."]
    cpu_per_workspace: Annotated[float, "Largest number of CPU cores one workspace may ask for."]
    memory_per_workspace_mb: Annotated[int, "Largest amount of memory one workspace may ask for, in MiB."]


def address(protocol: str, host: str, port: int) -> str:
    """``http://host:port``; the port is left out where the protocol implies it."""
    implied = (protocol, port) in {("http", 80), ("https", 443)}
    return f"{protocol}://{host}{'' if implied else f':{port}'}"


@dataclass(frozen=True)
class GitServer:
    """The git server. ``base_url``: the public address without a trailing slash; ``socket``: the Unix socket of its
    HTTP API; ``credentials``: the file with the service account's credentials."""

    service: Annotated[Literal["embedded", "forgejo"], "Whose HTTP API answers, Atelier's own service or Forgejo."]
    owner: Annotated[str, "The account that owns all repositories."]
    socket: Path
    credentials: Path
    seat_port: Annotated[int, "The port by which seats reach it on their bridge's own address."]
    base_url: str

    def web_url(self, repository: str) -> str:
        return f"{self.base_url}/{self.owner}/{repository}"

    def clone_url(self, repository: str) -> str:
        """The address for people to clone from; a seat uses ``seat_url``."""
        return f"{self.web_url(repository)}.git"

    def seat_url(self, repository: str) -> str:
        """The address of ``origin`` in a seat."""
        return f"http://{GIT_HOST}:{self.seat_port}/git/{self.owner}/{repository}.git"


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of the archive of one workspace."""

    entries: Annotated[int, "Files and folders that the archive of one workspace may hold."] = 1_000_000
    content_bytes: Annotated[
        int, SIZE, "Its content, the holes in files included. A checkpoint or a clone copies no more either."
    ] = 20 * GIB
    seconds: Annotated[float, "Seconds that the archive may take. A running workspace is paused meanwhile."] = 300


@dataclass(frozen=True)
class Builds:
    """The settings for building template images."""

    ide_image: Annotated[str, "The image that all templates are built on."]
    template_dirs: Annotated[
        tuple[Path, ...], "Folders of the site's own templates, searched before those that come with Atelier."
    ]
    pip_conf: Annotated[Path, "The host's pip settings, a build secret if the file exists."]
    npmrc: Annotated[Path, "The host's npm settings, a build secret if the file exists."]
    seconds: Annotated[float, "Seconds that the build of one template image may take."]
    images_from: Annotated[str, "A registry that has the images: nothing is built then. Empty to build them."] = ""


@dataclass(frozen=True)
class Site:
    """One installation: its state folder, the addresses of its seats, their limits. The modules' argument ``site`` and
    its documentation are generated from this class (declared.py)."""

    instance: Annotated[str, "Prefix of the installation's containers, networks and labels."]
    state_dir: Annotated[Path, "Folder of the database, the gateway's files and the locks."]
    engine_url: Annotated[str, "Where the Docker Engine listens, such as V(unix:///var/run/docker.sock)."]
    image_prefix: Annotated[str, "First part of the names of the images that the installation built."]
    domain: Annotated[str, "Domain under which seats are reached, as V(<id>.<domain>)."]
    port: Annotated[int, "The gateway's port."]
    protocol: Annotated[Literal["http", "https"], "How browsers reach the gateway."]
    networks: Annotated[
        Mapping[ProxyMode, Network],
        "For each egress mode the Docker network (C(name)), its address range (C(subnet), CIDR) and the proxy's port"
        " (C(proxy_port)).",
    ]
    quotas: Quotas
    git: Annotated[GitServer | None, "The git server; left out on an installation without one."] = None
    archive: Annotated[ArchiveLimits, "Limits of the archive of one workspace."] = ArchiveLimits()
    builds: Annotated[Builds | None, "What template images are built from. An installation without it builds none."] = (
        None
    )
    nodes: Annotated[
        tuple[Node, ...], "The machines besides the controller that workspaces run on; none on a single machine."
    ] = ()
    image_registry: Annotated[
        str, "Host and port of the registry from which nodes pull images; empty on a single machine."
    ] = ""
    controller_seats: Annotated[bool, "Whether workspaces run on the controller, too."] = True
    memory_overcommit: Annotated[
        float,
        "How many times its memory a machine may promise to its running workspaces, with several machines.",
    ] = 1.0
    seat_disk: Annotated[int, SIZE, "Bytes that the files of one workspace may take, or as V(20g); 0 for no limit."] = 0
    seat_file_size: Annotated[int, SIZE, "Bytes that a single file of a workspace may have; 0 for no limit."] = 0
    # A secret of the installation (container_names); None until its first change.
    names_key: bytes | None = field(default=None, repr=False)

    @property
    def node_names(self) -> tuple[str, ...]:
        """All machines that may have seats, the controller first."""
        return CONTROLLER, *(node.name for node in self.nodes)

    def node(self, name: str) -> Node | None:
        """A machine besides the controller; None for the controller, and for a machine that the inventory lost."""
        return next((node for node in self.nodes if node.name == name), None)

    @property
    def pki(self) -> Path:
        """Folder of the certificates with which the machines of an installation know each other."""
        return self.state_dir / "pki"

    @property
    def secure_context(self) -> bool:
        """Whether browsers treat the seats' addresses as secure: HTTPS, and names of the browser's own machine."""
        return self.protocol == "https" or self.domain == "localhost" or self.domain.endswith(".localhost")

    def template_image(self, template: str) -> str:
        return f"{self.image_prefix}/workspace:{template}"

    def public_name(self, workspace_id: str) -> str:
        """Twelve hexadecimal digits for a workspace, used where other seats can see them; they do not reveal its id."""
        if self.names_key is None:
            return workspace_id
        return hmac.digest(self.names_key, workspace_id.encode(), "sha256").hex()[:12]

    def container_name(self, workspace_id: str) -> str:
        """The container's name, which Docker's name server reveals to every seat on the same network."""
        if self.names_key is None:
            return f"{self.instance}-{workspace_id}"
        return f"{self.instance}-seat-{self.public_name(workspace_id)}"

    def volume_name(self, workspace_id: str) -> str:
        """The name of the volume with the IDE's configuration; other seats cannot see it."""
        return f"{self.instance}-{workspace_id}"

    def workspace_url(self, workspace_id: str) -> str:
        """The address a browser opens."""
        return f"{address(self.protocol, f'{workspace_id}.{self.domain}', self.port)}/"


@dataclass(frozen=True)
class Limits:
    """The limits of a seat. ``memory`` is a key of MEMORY_SIZES, ``cpus`` one of CPU_COUNTS."""

    memory: str = "2g"
    cpus: str = "2"

    @property
    def memory_bytes(self) -> int:
        return MEMORY_SIZES[self.memory]


class Workspace(NamedTuple):
    """A database row: the desired and the observed state of a workspace. Address, machine and times of one that is to
    be reserved are open: the database decides on them.

    A named tuple, because lists create thousands of them, and a frozen dataclass takes ten times as long.
    """

    id: str
    name: str
    template: str
    address: str = ""
    # The machine that its container is on.
    node: str = CONTROLLER
    # The labels that its machine must have, as ``name=value`` with commas between; empty for any machine.
    node_labels: str = ""
    created_at: str = ""
    last_activity: str = ""
    owner: str = "default"
    group: str | None = None
    notes: str = ""
    password_hash: str | None = None
    cloned_from: str | None = None
    # 1 if it is no clone, and a clone of it has run: a base, which is no seat, also when its clones are removed.
    was_cloned: int = 0
    git_url: str | None = None
    # Its repository on the git server and its branch; None until they exist.
    repository: str | None = None
    branch: str | None = None
    # Pending work: GIT_IMPORT, or None.
    git_pending: str | None = None
    # Part of the name of the IDE's session cookie: another word ends all sessions, also where the password stays.
    sessions: str = ""
    batch: str | None = None
    # Why it was stopped on purpose, one of StopReason; None for one that was started since.
    stop_reason: str | None = None
    # Why its last release failed; None for a seat that was released, reset or started by a person since. It may hold
    # its former participant's work, so nobody can claim it, whatever its status is.
    unreleased: str | None = None
    # Why its repository or branch is missing; a sentence.
    git_problem: str | None = None
    error: str | None = None
    status: Status = Status.CREATING
    proxy_mode: ProxyMode = DEFAULT_MODE
    limits: Limits = Limits()

    @property
    def has_repository(self) -> bool:
        """Whether its files are in a repository of the git server. A clone's are in its source's, on main at least."""
        return self.repository is not None and (self.branch is not None or self.cloned_from is not None)

    @property
    def password_protected(self) -> bool:
        return self.password_hash is not None
