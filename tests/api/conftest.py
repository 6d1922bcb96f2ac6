"""Real API, real Ansible, real Docker: instances of their own on a network of their own, gone when the session is."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool

from tests.api.git_service import GIT, Service
from tests.api.running import Api, Instance

ENGINE_URL = "unix:///var/run/docker.sock"
PREFIX = "atelier-api-test"
NETWORK = "atelier-api-test-open"
BRIDGE = "atl-apitest"
SUBNET = "172.23.0.0/16"
# Instances live side by side in one network: each gives addresses of its own part.
SHARED_PART, OWN_PART = "172.23.0.0/17", "172.23.128.0/17"
TEMPLATES = ("empty", "python-flask")  # those of atelier_templates' default


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The host's engine, with the workspace images under the tests' own prefix."""
    with (Path(tempfile.gettempdir()) / "atelier-api-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session's tests would be cleaned up by ours
        try:
            client = docker.DockerClient(base_url=ENGINE_URL, timeout=300)
        except DockerException as error:
            pytest.fail(f"No Docker Engine answers at {ENGINE_URL}: {error}. `./atelier up` installs and starts it.")
        try:
            for template in TEMPLATES:
                client.images.get(f"atelier/workspace:{template}").tag(f"{PREFIX}/workspace", template)
        except ImageNotFound as error:
            pytest.fail(f"An image is missing ({error}). `./atelier up` (or `./atelier test`) builds it.")
        yield client
        for template in TEMPLATES:
            client.images.remove(f"{PREFIX}/workspace:{template}")
        client.close()


@pytest.fixture(scope="session")
def network(engine: docker.DockerClient) -> Iterator[str]:
    _remove_leftovers(engine)
    engine.networks.create(
        NETWORK,
        driver="bridge",
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)]),
        options={"com.docker.network.bridge.name": BRIDGE, "com.docker.network.bridge.enable_icc": "false"},
        labels={"atelier.instance": PREFIX},
    )
    yield NETWORK
    _remove_leftovers(engine)


@pytest.fixture(scope="session")
def api(network: str) -> Iterator[Api]:
    """One API for all tests that leave it as they found it."""
    instance = make_instance(PREFIX, SHARED_PART)
    running = Api(instance)
    try:
        yield running.start()
    finally:
        running.close()
        instance.remove()


@pytest.fixture(scope="session")
def base(api: Api) -> dict[str, Any]:
    """A running workspace without a password, which nobody deletes."""
    return api.create("base-of-all", group="school")


@pytest.fixture
def own(network: str) -> Iterator[Callable[..., Api]]:
    """Makes an API of an instance that only this test has; settings can be given. It is not started."""
    instance = make_instance("atelier-api-own", OWN_PART)
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        made.append(Api(instance, **settings))
        return made[-1]

    yield make
    for running in made:
        running.close()
    instance.remove()


@pytest.fixture
def service(own: Callable[..., Api]) -> Iterator[tuple[Api, Service]]:
    api = own(git=GIT)
    running = Service(api.instance.folder, api.instance.state)
    running.start()
    api.start()
    yield api, running
    running.stop()


def make_instance(name: str, subnet: str = OWN_PART) -> Instance:
    return Instance(name, Path(tempfile.mkdtemp(prefix=f"{name}-")), subnet, NETWORK, ENGINE_URL, PREFIX)


def _remove_leftovers(engine: docker.DockerClient) -> None:
    """What this session or one that was killed left."""
    for name in (PREFIX, "atelier-api-own", "atelier-api-nowhere"):
        make_instance(name, SHARED_PART).remove()
    try:
        network = engine.networks.get(NETWORK)
    except NotFound:
        return
    for container in network.containers:
        try:
            network.disconnect(container, force=True)
        except APIError:
            continue
    network.remove()
