"""A Docker Engine, used by URL through Docker's SDK. Everything that Atelier does with Docker is a method here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..common.bounded_socket import connect
from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.plain_text import last_of
from .connections import ClientCertificate, address_of, secured_client
from .container_limits import changed_limits, creation_limits, may_have_quota
from .docker_errors import LONGEST_REASON, Place, translated
from .image_config import config_only_archive, dockerfile_changes, override_config
from .models import (
    Container,
    ContainerStats,
    Event,
    File,
    Image,
    ImageBuild,
    SeatSpec,
    Size,
    SwarmNode,
    TarExtract,
    TooLarge,
    archive_of,
)
from .parsing import (
    IN_USE,
    container_from,
    event_from,
    image_from,
    log_text,
    raise_stream_error,
    stats_from,
    swarm_node_from,
)

if TYPE_CHECKING:
    import requests
    from docker.errors import APIError

# Committing or flattening a large workspace is the slowest call.
LONGEST_ANSWER_SECONDS = 900
# Timeout for calls to another machine that copy no data. If Docker hangs, its host still answers, and people wait.
_QUICK_SECONDS = 120
_STOP_SECONDS = 10
# One try takes Docker 0.3 s; at a load of 13 on two cores four in a row failed.
_FREEZE_SECONDS = 10.0
_FREEZE_WAIT = 0.05
# A seat's files take Docker some seconds. After a crash it may report a removal that never ends.
_REMOVAL_SECONDS = 60.0
_REMOVAL_WAIT = 0.1
_CONNECT_SECONDS = 3.0
_GREETING_SECONDS = 10
_CHUNK = 1024**2
# Timeout for data that is small unless a seat makes it large or slow.
_READ_SECONDS = 60.0
_LOG_SECONDS = 15.0
_MOST_LOG = 8 * 1024**2
_KEPT_LOG = 64 * 1024
# The storage driver's type as an engine with containerd's image store reports it.
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"


class Engine:
    """``url`` as in DOCKER_HOST; ``patience``: maximum seconds for one of Docker's answers; ``node``: the machine's
    name, unless it is the controller; ``certificate``: for an engine by https.

    Everything raises SERVICE_UNAVAILABLE (of a node: NODE_UNAVAILABLE) when the engine can't be reached, DISK_FULL when
    it has no space left, and ENGINE_ERROR with Docker's own words otherwise. Containers are named by name or id, labels
    are given as ``name=value``. What a seat can delay or enlarge (``execute``, ``logs``, ``read``) is limited.
    """

    def __init__(
        self,
        url: str,
        *,
        patience: int = LONGEST_ANSWER_SECONDS,
        node: str = "",
        certificate: ClientCertificate | None = None,
    ) -> None:
        # Imported here: it takes 0.15 s, which a module that fails its checks should not spend.
        import docker
        from docker.constants import DEFAULT_DOCKER_API_VERSION
        from requests.exceptions import ReadTimeout

        self._place = Place(url, node)
        self._patience = patience
        self._certificate = certificate
        self._translated = partial(translated, self._place)
        with self._translated(Message("do.connect")):
            if certificate is None:
                self._api = self._quick = docker.APIClient(base_url=url, version="auto", timeout=patience)
                return
            # For an unreachable machine the SDK would take minutes.
            connect(address_of(url), _CONNECT_SECONDS).close()
            client = partial(secured_client, url, certificate)
            try:
                greeting = client(DEFAULT_DOCKER_API_VERSION, _GREETING_SECONDS).version(api_version=False)
            except ReadTimeout as error:
                raise self._place.unreachable(type(error).__name__) from error
            self._api = client(greeting["ApiVersion"], patience)
            self._quick = client(greeting["ApiVersion"], min(patience, _QUICK_SECONDS))

    def close(self) -> None:
        """Closes its connections, also those of events that are followed."""
        self._api.close()
        self._quick.close()

    @cached_property
    def _info(self) -> dict[str, Any]:
        with self._translated(Message("do.read_information")):
            info: dict[str, Any] = self._quick.info()
            return info

    @property
    def _in_containerd(self) -> bool:
        """Whether images are in containerd's store, not in Docker's classic one."""
        return any(value == _CONTAINERD_STORE for _, value in self._info.get("DriverStatus") or ())

    def cpus(self) -> int:
        """CPU cores of the engine's host; Docker refuses a container that asks for more."""
        return int(self._info["NCPU"])

    def create(self, spec: SeatSpec) -> str:
        """Creates the container, not started, and returns its id.

        Always hardened: no new privileges, no capabilities (an IDE that runs as a user needs none), Docker's seccomp
        profile, and the limits of ``creation_limits``; its disk is limited where the storage driver can.
        """
        if spec.disk and may_have_quota(self._info):
            with suppress(AtelierError):  # any other reason than the quota fails the second attempt, too
                return self._create(spec, spec.disk)
        return self._create(spec, 0)

    def _create(self, spec: SeatSpec, quota: int) -> str:
        from docker.types import LogConfig, Mount

        host_config = self._api.create_host_config(
            **creation_limits(spec, self.cpus(), quota),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            restart_policy={"Name": "unless-stopped"},
            mounts=[Mount(spec.volume_path, spec.volume, type="volume", no_copy=True, labels=dict(spec.labels))],
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "5m", "max-file": "2"}),
            network_mode=spec.network,
            extra_hosts=dict(spec.hosts),
        )
        endpoint = self._api.create_endpoint_config(ipv4_address=spec.address)
        endpoints: Any = {spec.network: endpoint}  # the stubs ask for one endpoint, the SDK for endpoints by network
        with self._translated(Message("do.create", container=spec.name), Code.CONTAINER_CREATE_FAILED):
            created = self._quick.create_container(
                image=spec.image,
                name=spec.name,
                hostname=spec.hostname,
                labels=dict(spec.labels),
                environment=dict(spec.environment),
                host_config=host_config,
                networking_config=self._api.create_networking_config(endpoints),
            )
        return str(created["Id"])

    def create_from_copy(self, spec: SeatSpec, base: str, label: str) -> str:
        """Like ``create``, from an image that a commit made of such a container. The image's last layer becomes the
        container's own: its files count as the container's again, and no image has them. The layers below get the name
        ``base``, and the image's configuration without the label, which says something of the last layer.

        Only if the storage driver keeps layers in folders on this machine; otherwise the same as ``create``.
        """
        image = self._made(spec.image)
        with self._translated(Message("do.inspect_image", reference=spec.image)):
            source = _layer_folder(self._api.inspect_image(spec.image))
        if source is None or len(image.layers) < 2 or self._in_containerd:
            return self.create(spec)
        with self._translated(Message("do.configure_image", tag=base), Code.SNAPSHOT_FAILED):
            labels = {name: value for name, value in image.labels.items() if name != label}
            below = config_only_archive(base, {**image.config, "Labels": labels}, image.layers[:-1])
            raise_stream_error(self._api.load_image(below))
        created = self.create(replace(spec, image=base))
        with self._translated(Message("do.inspect", container=created)):
            target = _layer_folder(self._api.inspect_container(created))
        # Overlay whiteouts are devices and extended attributes; no Python function copies them.
        command = ["cp", "--archive", "--reflink=auto", "--no-target-directory", str(source), str(target)]
        copied = subprocess.run(command, capture_output=True, text=True, check=False)
        if copied.returncode != 0:
            self.remove(created)
            reason = last_of(copied.stderr, LONGEST_REASON)
            raise AtelierError(Code.ENGINE_ERROR, Message("docker.not_copied", container=spec.name, reason=reason))
        return created

    def start(self, container: str) -> None:
        with self._translated(Message("do.start", container=container), Code.CONTAINER_CREATE_FAILED):
            self._quick.start(container)

    def stop(self, container: str) -> None:
        with self._translated(Message("do.stop", container=container)):
            self._quick.stop(container, timeout=_STOP_SECONDS)

    def restart(self, container: str) -> None:
        """Kills every process of the container, and starts it again."""
        with self._translated(Message("do.restart", container=container), Code.CONTAINER_CREATE_FAILED):
            self._quick.restart(container, timeout=0)

    def kill(self, container: str) -> None:
        """Kills all processes of the container; a stopped one is fine."""
        with self._translated(Message("do.stop", container=container), absent=lambda _: True):
            self._quick.kill(container)

    def remove(self, container: str) -> None:
        """Removes the container, running or not, if it exists. Returns when it is gone, also if another run removes it
        at the same time."""

        def remove() -> None:
            with self._translated(Message("do.remove", container=container), absent=_is_missing):
                self._api.remove_container(container, force=True, v=True)

        _repeat_while(remove, "already in progress", _REMOVAL_SECONDS, _REMOVAL_WAIT)

    def rename(self, container: str, name: str) -> None:
        with self._translated(Message("do.rename", container=container)):
            self._quick.rename(container, name)

    def pause(self, container: str) -> None:
        """Freezes the container. On a busy machine with cgroup v1 the kernel may need to be asked several times."""

        def pause() -> None:
            with self._translated(Message("do.pause", container=container)):
                self._quick.pause(container)

        _repeat_while(pause, "unable to freeze", _FREEZE_SECONDS, _FREEZE_WAIT)

    def unpause(self, container: str) -> None:
        with self._translated(Message("do.unpause", container=container)):
            self._quick.unpause(container)

    def thaw(self, container: str) -> None:
        """Ends a pause that Docker does not know about because it was killed while pausing: Docker then reports the
        container as running, and only a restart helps. A container that really runs is not affected."""
        try:
            self.pause(container)
        except AtelierError as error:
            if "cannot pause a paused container" not in str(error.__cause__):
                raise
            self.restart(container)
        else:
            self.unpause(container)

    def update_limits(self, container: str, memory: int, cpus: float) -> None:
        """Changes a container's limits, running or not, and its CPU shares to those of a new one. Bytes and cores."""
        # The SDK's update_container knows no NanoCpus, and Docker refuses a quota beside it.
        body = changed_limits(memory, cpus, self.cpus())
        with self._translated(Message("do.change_limits", container=container)):
            self._request("POST", f"containers/{container}/update", json=body).close()

    def inspect(self, container: str) -> Container | None:
        with self._translated(Message("do.inspect", container=container), absent=_is_missing):
            return container_from(self._quick.inspect_container(container))
        return None

    def stats(self, container: str) -> ContainerStats | None:
        """Returns the container's resource usage, or None if it does not run."""
        with self._translated(Message("do.measure", container=container), absent=_is_missing):
            return stats_from(self._quick.stats(container, stream=False, one_shot=True))
        return None

    def sizes(self, *labels: str) -> dict[str, Size]:
        """The sizes of all containers with those labels, by their names."""
        with self._translated(Message("do.measure_all")):
            listed = self._api.containers(all=True, size=True, filters={"label": list(labels)})
        return {
            name.lstrip("/"): Size(int(entry.get("SizeRw") or 0), int(entry.get("SizeRootFs") or 0))
            for entry in listed
            for name in entry["Names"]
        }

    def written(self, container: str) -> int:
        """Bytes that a commit of the container copies: its files beyond the image, including holes in sparse files."""
        with (
            self._translated(Message("do.measure", container=container)),
            closing(self._request("GET", f"containers/{container}/json", params={"size": True})) as response,
        ):
            return int(response.json().get("SizeRw") or 0)

    def containers(self, label: str) -> list[Container]:
        """All containers with that label, running or not."""
        return [found for entry in self._listed(label) if (found := self.inspect(entry["Id"]))]

    def images_in_use(self, label: str) -> set[str]:
        """The ids of the images of all containers with that label, in one call."""
        return {entry["ImageID"] for entry in self._listed(label)}

    def container_names(self, label: str) -> dict[str, str]:
        """Maps the containers' names to the workspace id in their labels (or ""). One call for any number of them."""
        return {
            name.lstrip("/"): (entry["Labels"] or {}).get("atelier.workspace", "")
            for entry in self._listed(label)
            for name in entry["Names"]
        }

    def _listed(self, label: str) -> list[dict[str, Any]]:
        with self._translated(Message("do.list")):
            listed: list[dict[str, Any]] = self._quick.containers(all=True, filters={"label": label})
        return listed

    def events(self, label: str) -> Iterator[Event]:
        """Yields events of containers with that label from now on, until the engine is closed or unreachable."""
        return self._events(label)

    def past_events(self, label: str, since: int) -> list[Event]:
        """Events of containers with that label since that time, inclusive, as far as Docker remembers them. ``since``:
        nanoseconds of Docker's clock."""
        # Docker waits for events until ``until``, unless that time has passed.
        until = time.time_ns() - 1_000_000
        return list(self._events(label, since=_seconds(since), until=_seconds(until)))

    def _events(self, label: str, **span: Any) -> Iterator[Event]:
        # Requested immediately: a generator would send the request only when the first event is read.
        with self._translated(Message("do.list")):
            raw = self._api.events(**span, filters={"label": label, "type": "container"}, decode=True)

        def translated_events() -> Iterator[Event]:
            with self._translated(Message("do.list")):
                yield from map(event_from, raw)

        return translated_events()

    def put(self, container: str, folder: str, files: Sequence[File]) -> None:
        """Writes files below an existing folder, replacing what is there, in one call. Works on stopped containers."""
        with self._translated(Message("do.write_files", container=container)):
            self._api.put_archive(container, folder, archive_of(files, folder))

    def read(
        self, container: str, path: str, limit: int, follow: Callable[[PurePosixPath], bool] = lambda _: True
    ) -> TarExtract | None:
        """The content at the path; None if there is nothing. A symbolic link as the last part is followed if ``follow``
        says so, otherwise it counts as nothing. Raises TooLarge for more than ``limit`` bytes."""
        from docker.utils import decode_json_header

        deadline = time.monotonic() + _READ_SECONDS
        target = ""
        # Not the SDK's get_archive: its stream cannot be closed, and while an unread stream is open, Docker answers no
        # other request for the container.
        with (
            self._translated(Message("do.read", path=path, container=container), absent=_leads_nowhere),
            closing(self._archive(container, path, _READ_SECONDS)) as response,
        ):
            target = decode_json_header(response.headers["x-docker-container-path-stat"])["linkTarget"]
            if not target:
                data = bytearray()
                for chunk in response.iter_content(65536):
                    data += chunk
                    if len(data) > limit:
                        large = Message("docker.too_large", path=path, container=container, limit=limit)
                        raise TooLarge(Code.ENGINE_ERROR, large, limit=limit)
                    if time.monotonic() > deadline:
                        late = Message("docker.read_too_long", path=path, container=container, seconds=_READ_SECONDS)
                        raise AtelierError(Code.ENGINE_ERROR, late)
                return TarExtract(PurePosixPath(path), bytes(data))
        # Docker returns the final target of a chain of links.
        is_followed = target and follow(PurePosixPath(target))
        return self.read(container, target, limit, lambda _: False) if is_followed else None

    def stream(self, container: str, path: str, patience: float) -> Generator[bytes]:
        """Yields the content at the path as a tar archive in pieces; each must arrive within ``patience`` seconds.
        Close the generator: while it is open, Docker answers no other request for the container."""
        with (
            self._translated(Message("do.read", path=path, container=container)),
            closing(self._archive(container, path, patience)) as response,
        ):
            yield from response.iter_content(_CHUNK)

    def _archive(self, container: str, path: str, patience: float) -> requests.Response:
        # File names in seats may be invalid UTF-8.
        where = {"path": path.encode(errors="surrogateescape")}
        return self._request("GET", f"containers/{container}/archive", timeout=patience, params=where)

    def unpack(self, container: str, folder: str, archive: Iterator[bytes]) -> None:
        """Writes the content of a tar archive below an existing folder, with its owners, rights and times."""
        with self._translated(Message("do.write_files", container=container)):
            self._api.put_archive(container, folder, archive)

    def _request(self, method: str, path: str, *, timeout: float | None = None, **arguments: Any) -> requests.Response:
        """Sends a request that the SDK has no method for; the response's body is not read yet."""
        from docker.errors import create_api_error_from_http_exception
        from requests import HTTPError

        address = f"{self._api.base_url}/v{self._api.api_version}/{path}"
        # By default the SDK asks for gzip. Docker then compresses every archive, which takes ten times as long as
        # reading it.
        as_it_is = {"Accept-Encoding": "identity"}
        response = self._api.request(
            method, address, stream=True, timeout=timeout or self._patience, headers=as_it_is, **arguments
        )
        try:
            response.raise_for_status()
        except HTTPError as error:
            raise create_api_error_from_http_exception(error) from error
        return response

    def execute(
        self, container: str, command: Sequence[str], *, seconds: float, limit: int = 1024**2, user: str = ""
    ) -> tuple[int, str]:
        """Runs a program by its absolute path, with the platform's PATH; returns exit code and output. Raises
        ENGINE_ERROR, with ``limit`` in its details, if that takes longer than ``seconds`` or prints more than ``limit``
        bytes, so that no container can delay a caller for longer."""
        from .exec import Program

        with self._translated(Message("do.run", command=command[0], container=container)):
            tls = self._certificate.tls() if self._certificate else None
            open_connection = partial(connect, address_of(self._place.url), tls=tls)
            version = self._api.api_version
            return Program(open_connection, self._request, version, container, command, user, seconds, limit).run()

    def logs(self, container: str, lines: int) -> str:
        """Returns the container's last lines, or the end of what can be read in time: a line may have any length."""
        wanted = {"stdout": 1, "stderr": 1, "tail": lines}
        with self._translated(Message("do.read_log", container=container)):
            data = bytearray()
            deadline = time.monotonic() + _LOG_SECONDS
            path = f"containers/{container}/logs"
            with closing(self._request("GET", path, params=wanted, timeout=_LOG_SECONDS)) as response:
                for chunk in response.iter_content(_CHUNK):
                    data += chunk
                    if len(data) > _MOST_LOG or time.monotonic() > deadline:
                        break
            return log_text(bytes(data))[-_KEPT_LOG:]

    def image(self, reference: str) -> Image | None:
        with self._translated(Message("do.inspect_image", reference=reference), absent=_is_image_missing):
            return image_from(self._quick.inspect_image(reference))
        return None

    def images(self, label: str) -> list[Image]:
        """All images with that label, untagged ones too."""
        return [found for entry in self._listed_images(label) if (found := self.image(entry["Id"]))]

    def image_tags(self, label: str) -> list[str]:
        """The names of all images with that label, in one call."""
        return [tag for entry in self._listed_images(label) for tag in entry["RepoTags"] or ()]

    def _listed_images(self, label: str) -> list[dict[str, Any]]:
        with self._translated(Message("do.list_images")):
            listed: list[dict[str, Any]] = self._quick.images(filters={"label": label})
        return listed

    def layer_size(self, reference: str) -> int:
        """Bytes that the image adds to its parent; 0 if it does not exist."""
        with self._translated(Message("do.inspect_image", reference=reference), absent=_is_image_missing):
            return int(self._quick.history(reference)[0]["Size"])
        return 0

    def build(self, build: ImageBuild, report: Callable[[float, int, int], None]) -> None:
        from .build import build_image

        build_image(self._place.url, build, report)

    def commit(self, container: str, tag: str, config: Mapping[str, Any]) -> Image:
        """Makes an image of the container's filesystem with exactly that run configuration. The caller pauses."""
        repository, _, name = tag.rpartition(":")
        with self._translated(Message("do.commit", container=container), Code.SNAPSHOT_FAILED):
            told = self._told(config)
            if self._in_containerd:
                told = override_config(config, self._api.inspect_container(container)["Config"])
            self._api.commit(container, repository=repository, tag=name, pause=False, conf=told)
        return self._with_config(tag, config)

    def flatten(self, container: str, tag: str, config: Mapping[str, Any]) -> Image:
        """Like ``commit``, but with a single layer: for containers whose image has nearly as many as Docker allows."""
        repository, _, name = tag.rpartition(":")
        with self._translated(Message("do.flatten", container=container), Code.SNAPSHOT_FAILED):
            changes = dockerfile_changes(self._told(config))
            files = self._api.export(container)
            answer = self._api.import_image_from_stream(files, repository=repository, tag=name, changes=changes)
            raise_stream_error(json.loads(line) for line in answer.splitlines())
        return self._with_config(tag, config)

    def _told(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of a new image's configuration that Docker gets at once. ``_with_config`` completes it, but a
        crash's leftovers are found by their labels."""
        return config if self._in_containerd else {"Labels": config.get("Labels") or {}}

    def _with_config(self, tag: str, config: Mapping[str, Any]) -> Image:
        """Gives a new image the wanted configuration, which in containerd's store it has already.

        A commit keeps the container's own environment and labels in the image's ``container_config``, which ``docker
        save`` shows. So the image is loaded again under its tag from an archive with a configuration and no layers:
        Docker finds the layers by their digests and copies nothing.
        """
        made = self._made(tag)
        if self._in_containerd:
            return made
        with self._translated(Message("do.configure_image", tag=tag), Code.SNAPSHOT_FAILED):
            raise_stream_error(self._api.load_image(config_only_archive(tag, config, made.layers)))
        self.remove_image(made.id)
        return self._made(tag)

    def _made(self, tag: str) -> Image:
        made = self.image(tag)
        if made is None:
            raise AtelierError(Code.SNAPSHOT_FAILED, Message("docker.image_vanished", tag=tag))
        return made

    def tag(self, image: str, reference: str) -> None:
        """Adds a name, ``repository:tag``, to an image."""
        repository, _, tag = reference.rpartition(":")
        with self._translated(Message("do.name_image", reference=reference), Code.SNAPSHOT_FAILED):
            self._quick.tag(image, repository, tag)

    def push(self, reference: str) -> None:
        """Pushes an image to the registry that its name begins with; layers that the registry has are not sent."""
        with self._translated(Message("do.push", reference=reference)):
            raise_stream_error(self._api.push(reference, stream=True, decode=True))

    def pull(self, reference: str) -> Image:
        """Pulls an image from the registry that its name begins with, and returns it."""
        with self._translated(Message("do.pull", reference=reference)):
            raise_stream_error(self._api.pull(reference, stream=True, decode=True))
        return self._made(reference)

    def save(self, references: Sequence[str]) -> Generator[bytes]:
        """Yields an archive of the images with all their layers, in pieces, for ``load``. Each layer is in it once."""
        with (
            self._translated(Message("do.save_images")),
            closing(self._request("GET", "images/get", params={"names": list(references)})) as response,
        ):
            yield from response.iter_content(_CHUNK)

    def load(self, archive: Iterator[bytes]) -> None:
        """Loads the images of an archive that ``save`` wrote, with their names."""
        with self._translated(Message("do.load_images")):
            raise_stream_error(self._api.load_image(archive))

    def free_space(self) -> int:
        """Free bytes on the engine's disk. Only for this machine's engine; also in a container, whose root is on that
        disk."""
        root = Path(self._info["DockerRootDir"])
        found = os.statvfs(root if root.is_dir() else "/")
        return found.f_bavail * found.f_frsize

    def swarm_nodes(self) -> list[SwarmNode]:
        """The machines of the Docker Swarm; empty if the engine manages no swarm."""
        if not self._info.get("Swarm", {}).get("ControlAvailable"):
            return []
        with self._translated(Message("do.list_nodes")):
            return [swarm_node_from(node) for node in self._quick.nodes()]

    def swarm_id(self) -> str:
        """The machine's id in its swarm; empty if it belongs to none."""
        return str(self._info.get("Swarm", {}).get("NodeID", ""))

    def set_availability(self, node_id: str, availability: str) -> None:
        """Sets whether Swarm, and so Atelier, places anything new on the machine: ``active`` or ``pause``."""
        with self._translated(Message("do.change_node", node=node_id)):
            node = self._quick.inspect_node(node_id)
            spec: Any = {**node["Spec"], "Availability": availability}
            self._quick.update_node(node_id, node["Version"]["Index"], spec)

    def remove_node(self, node_id: str) -> None:
        """Removes a machine from the swarm, reachable or not."""
        with self._translated(Message("do.change_node", node=node_id), absent=_is_missing):
            self._quick.remove_node(node_id, force=True)

    def remove_image(self, reference: str, *, force: bool = False) -> bool:
        """Removes an image, or with ``force`` at least its tag. False if containers still use it or it is gone.

        The layers of an untagged image remain as long as a container needs them.
        """
        if force:
            self._keep_if_in_use(reference)
        with self._translated(Message("do.remove_image", reference=reference), absent=_is_missing_or_in_use):
            self._api.remove_image(reference, force=force)
            return True
        return False

    def _keep_if_in_use(self, reference: str) -> None:
        """Adds an internal name, which ``image`` does not report, to an image that a stopped container uses. Otherwise
        a forced removal of its last name would remove the image, and the container could not be committed. Docker keeps
        the image of a running one."""
        image = self.image(reference)
        if image is None or list(image.tags) != [reference]:
            return
        with self._translated(Message("do.remove_image", reference=reference)):
            standing = self._quick.containers(all=True, filters={"ancestor": image.id})
            if any(found["ImageID"] == image.id and found["State"] in ("created", "exited") for found in standing):
                self._quick.tag(image.id, IN_USE, image.id.removeprefix("sha256:")[:12])

    def volumes(self, label: str) -> list[str]:
        """Names of all volumes with that label."""
        with self._translated(Message("do.list_volumes")):
            listed = self._quick.volumes(filters={"label": label})
        return [volume["Name"] for volume in listed["Volumes"] or ()]

    def remove_volume(self, volume: str) -> bool:
        """Removes a volume. False if a container still uses it (one that a reset replaced) or it is gone."""
        with self._translated(Message("do.remove_volume", volume=volume), absent=_is_missing_or_in_use):
            self._quick.remove_volume(volume)
            return True
        return False


def _repeat_while(ask: Callable[[], None], refusal: str, seconds: float, wait: float) -> None:
    """Asks Docker again, every ``wait`` seconds, while it refuses with these words; raises its refusal after
    ``seconds``, and any other error at once."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
            return
        except AtelierError as error:
            if time.monotonic() > deadline or refusal not in str(error.__cause__):
                raise
        time.sleep(wait)


def _is_missing(error: APIError) -> bool:
    return error.status_code == 404


def _is_image_missing(error: APIError) -> bool:
    """Whether there is no image, also because Docker removed it between finding it and reading its layers, or, before
    version 23, between finding it and removing it for another caller."""
    said = str(error.explanation)
    return _is_missing(error) or said == "layer does not exist" or said.startswith("unrecognized image")


def _is_missing_or_in_use(error: APIError) -> bool:
    return error.status_code == 409 or _is_image_missing(error)


def _leads_nowhere(error: APIError) -> bool:
    """Whether there is nothing at a path, also because it leads through a file, or is a circular link."""
    reason = str(error.explanation or error)
    return _is_missing(error) or "not a directory" in reason or "too many links" in reason


def _layer_folder(raw: Mapping[str, Any]) -> Path | None:
    """The folder of the last layer of an image or a container on this machine, or None."""
    driver = raw.get("GraphDriver") or {}
    folder = Path((driver.get("Data") or {}).get("UpperDir") or "/nonexistent")
    return folder if driver.get("Name") == "overlay2" and folder.is_dir() else None


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"
