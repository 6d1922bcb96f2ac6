"""The host's Docker engine, shared by the suites: one session of each at a time, on a separate network."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool

ENGINE_URL = "unix:///var/run/docker.sock"


@contextmanager
def only_session(suite: str) -> Iterator[None]:
    """Waits for the suite's sessions in other checkouts: they have the same names and address ranges."""
    with (Path(tempfile.gettempdir()) / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def host_engine(suite: str, templates: Mapping[str, str]) -> Iterator[docker.DockerClient]:
    """The host's engine for one session of the suite. ``templates`` maps the name of each template that the suite has
    under its own image prefix to the image that it is."""
    with only_session(suite):
        try:
            client = docker.DockerClient(base_url=ENGINE_URL, timeout=300)
        except DockerException as error:
            pytest.fail(f"No Docker Engine answers at {ENGINE_URL}: {error}. `./atelier up` installs and starts it.")
        try:
            for template, image in templates.items():
                client.images.get(image).tag(f"{suite}/workspace", template)
        except ImageNotFound as error:
            pytest.fail(f"An image is missing ({error}). `./atelier up` (or `./atelier test`) builds it.")
        yield client
        for template in templates:
            client.images.remove(f"{suite}/workspace:{template}")
        client.close()


@contextmanager
def open_network(
    client: docker.DockerClient,
    name: str,
    bridge: str,
    subnet: str,
    remove_installations: Callable[[], None],
) -> Iterator[str]:
    """A network between whose containers there is no way. What an earlier session left is removed first."""

    def remove() -> None:
        remove_installations()
        try:
            network = client.networks.get(name)
        except NotFound:
            return
        for container in network.containers:
            try:
                network.disconnect(container, force=True)
            except APIError:
                continue
        network.remove()

    remove()
    client.networks.create(
        name,
        driver="bridge",
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]),
        options={"com.docker.network.bridge.name": bridge, "com.docker.network.bridge.enable_icc": "false"},
    )
    yield name
    remove()
