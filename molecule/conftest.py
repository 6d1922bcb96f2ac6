"""Shared by the scenarios' tests: the installation under test, temporary containers, and the playbooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

PROJECT = Path(__file__).parent.parent
LISTEN = """
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) { print $client "hello"; close $client }
"""


@pytest.fixture(scope="session")
def site() -> dict[str, Any]:
    """The installation that the scenario made."""
    found: dict[str, Any] = json.loads(os.environ["ATELIER_MOLECULE"])["site"]
    return found


@pytest.fixture(scope="session")
def start(site: dict[str, Any]) -> Iterator[Callable[..., Container]]:
    """Starts containers of the base image; they are removed at the end."""
    client = docker.DockerClient(base_url=site["engine_url"])
    started: list[Container] = []

    def run(*command: str, address: str | None = None, **options: Any) -> Container:
        labels = {"atelier.instance": site["instance"]}
        image = f"{site['image_prefix']}/base:trixie"
        container = client.containers.create(image, list(command), labels=labels, init=True, **options)
        started.append(container)
        if address is not None:
            open_network = client.networks.get(site["networks"]["none"]["name"])
            client.networks.get("bridge").disconnect(container)
            open_network.connect(container, ipv4_address=address)
        container.start()
        return container

    yield run
    for container in started:
        container.remove(force=True, v=True)
    client.close()


def listen(port: int) -> list[str]:
    """The command of a container that greets every client of the port."""
    return ["perl", "-e", LISTEN, str(port)]


def playbook(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a playbook for the installation under test, as the scenario's converge does."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", str(path)),
            f"--inventory={PROJECT / 'inventory/localhost.yml'}",
            f"--extra-vars=@{PROJECT / 'molecule/common/vars/instance.yml'}",
            *arguments,
        ],
        env=os.environ | {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "steps"},
        capture_output=True,
        text=True,
        check=False,
    )
