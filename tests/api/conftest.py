"""Fixtures with the real API, Ansible and Docker: separate instances on a separate network, removed at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.api.git_service import GIT, Service
from tests.api.running import Api, Instance
from tests.engine import ENGINE_URL, host_engine, open_network
from tests.module.small_image import build_small_image

PREFIX, LIGHT = "atelier-api-test", "atelier-api-light"
NETWORK = "atelier-api-test-open"
BRIDGE = "atl-apitest"
SUBNET = "172.23.0.0/16"
# Instances live side by side in one network: each assigns addresses from its own part.
SHARED_PART, OWN_PART = "172.23.0.0/17", "172.23.128.0/17"
TEMPLATES = ("empty", "python-flask")  # those of atelier_templates' default


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The host's engine, with the workspace images under the tests' own prefix."""
    with host_engine(PREFIX, {template: f"atelier/workspace:{template}" for template in TEMPLATES}) as client:
        yield client
        # A test may have built others.
        for image in client.images.list(filters={"reference": f"{PREFIX}/workspace:*"}):
            for tag in image.tags:
                if tag.startswith(f"{PREFIX}/workspace:") and tag.rpartition(":")[2] not in TEMPLATES:
                    client.images.remove(tag)


@pytest.fixture(scope="session")
def light(engine: docker.DockerClient) -> Iterator[str]:
    """An image prefix whose empty template starts at once and takes 30 MB, for tests that are not about the IDE:
    ``own(image_prefix=light)``."""
    image = f"{LIGHT}/workspace:empty"
    build_small_image(engine, f"{PREFIX}/workspace:empty", image)
    yield LIGHT
    engine.images.remove(image, force=True)


@pytest.fixture(scope="session")
def network(engine: docker.DockerClient) -> Iterator[str]:
    with open_network(engine, NETWORK, BRIDGE, SUBNET, _remove_installations) as name:
        yield name


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
    """A running workspace without a password, shared by tests; do not delete it."""
    return api.create("base-of-all", group="school")


@pytest.fixture
def own(network: str) -> Iterator[Callable[..., Api]]:
    """Makes an API of an instance that only this test has; settings can be given. It is not started."""
    with own_instance() as make:
        yield make


@contextmanager
def own_instance() -> Iterator[Callable[..., Api]]:
    instance = make_instance("atelier-api-own", OWN_PART)
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        made.append(Api(instance, **settings))
        return made[-1]

    try:
        yield make
    finally:
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


def _remove_installations() -> None:
    """Removes the installations of this session, or of one that was killed."""
    for name in (PREFIX, "atelier-api-own", "atelier-api-nowhere"):
        make_instance(name, SHARED_PART).remove()
