"""Real Ansible and Docker: a separate instance on a separate network, removed after each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.engine import ENGINE_URL, host_engine, open_network
from tests.module.git_container import IDLE_SECONDS, LIMIT, Server, git_service, new_work
from tests.module.installation import Installation
from tests.module.small_image import SMALL, build_small_image

NETWORK = "atelier-test-open"
BRIDGE = "atl-test"
SUBNET = "172.26.0.0/16"
# Two installations may live side by side in one network: each assigns addresses from its own half.
TEST_HALF, SHARED_HALF = "172.26.0.0/17", "172.26.128.0/17"
# To rebuild the image while tests run, name a copy that stays.
TEMPLATE = os.environ.get("ATELIER_TEST_TEMPLATE", "atelier/workspace:empty")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The host's engine, with the workspace image under the test's own prefix."""
    with host_engine("atelier-test", {"empty": TEMPLATE}) as client:
        yield client


@pytest.fixture(scope="session")
def network(engine: docker.DockerClient) -> Iterator[str]:
    with open_network(engine, NETWORK, BRIDGE, SUBNET, _remove_installations) as name:
        yield name


@pytest.fixture(scope="session")
def small(engine: docker.DockerClient) -> Iterator[str]:
    """A template that starts at once and takes 30 MB, for tests that are not about the IDE."""
    build_small_image(engine, "atelier-test/workspace:empty")
    yield "small"
    engine.images.remove(SMALL, force=True)


@pytest.fixture
def site(network: str) -> Iterator[Installation]:
    """An empty installation for one test."""
    with fresh_installation(network) as installation:
        yield installation


@contextmanager
def fresh_installation(network: str) -> Iterator[Installation]:
    _installation("atelier-test", TEST_HALF, network).remove()  # of a session that was killed
    installation = _installation("atelier-test", TEST_HALF, network)
    try:
        yield installation
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def shared(network: str) -> Iterator[Installation]:
    """An installation for all tests of one file, which put back what they change."""
    installation = _installation("atelier-test-shared", SHARED_HALF, network)
    yield installation
    installation.remove()


@pytest.fixture(scope="session")
def server(engine: docker.DockerClient) -> Iterator[Server]:
    """The embedded git service, for all git tests; each uses its own repository."""
    settings = {
        "atelier_image_prefix": "atelier",
        "atelier_git_service_max_push_bytes": LIMIT,
        "atelier_git_service_idle_seconds": IDLE_SECONDS,
        "atelier_git_service_process_mib": 320,
    }
    with git_service(_installation("atelier-test-git", TEST_HALF, NETWORK, **settings)) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path, server: Server) -> Path:
    """A working copy whose main was pushed to a fresh repository ``app``, by the base's seat."""
    return new_work(server, tmp_path / "work")


def _installation(name: str, subnet: str, network: str, **variables: Any) -> Installation:
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    return Installation(name, folder, subnet, network, ENGINE_URL, **variables)


def _remove_installations() -> None:
    """Removes the installations of a session that was killed."""
    for name in ("atelier-test", "atelier-test-shared"):
        _installation(name, TEST_HALF, NETWORK).remove()
