"""An installation of one machine that gets others, and gives one back. Prints how long `up` took each time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from atelier.common.models import CONTROLLER

from .installation import Cluster, three_machines

# The first test waits for the first `up`.
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with three_machines(tmp_path_factory.mktemp("growing"), nodes=(), workshop_seats=2) as made:
        yield made


def up(cluster: Cluster, what: str) -> str:
    begin = time.monotonic()
    told = cluster.run("up")
    print(f"up, {what}: {time.monotonic() - begin:.0f} s")
    return told


def began(cluster: Cluster) -> dict[str, str]:
    """When the processes of the controller's seats began."""
    names = cluster.containers(CONTROLLER)
    return {
        name: cluster.at(CONTROLLER, "docker", "inspect", "--format", "{{.State.StartedAt}}", name) for name in names
    }


def create(cluster: Cluster, name: str) -> dict[str, Any]:
    made: dict[str, Any] = cluster.api("POST", "/api/projects/create", {"projectName": name, "projectType": "empty"})[
        "project"
    ]
    return made


def test_machines_are_added_and_the_seats_that_were_there_go_on(cluster: Cluster) -> None:
    before = began(cluster)
    assert len(before) == 3
    for name in ("alpha", "beta"):
        cluster.machines.start(name)
        up(cluster, f"{name} is new")
        assert cluster.nodes()[name]["state"] == "ready"
        assert began(cluster) == before, "no seat was made anew or restarted"
        seat = create(cluster, f"on-{name}")
        assert seat["node"] == name, "it has the most room"
        assert all(cluster.opens(seat) for seat in cluster.seats())
    assert "Done: 0 changed" in up(cluster, "nothing is new")


def test_an_empty_machine_is_given_back(cluster: Cluster) -> None:
    beta = cluster.machine("beta")
    refused = cluster.run("play", "node_remove", "-e", "node_name=beta", fails=True)
    assert "node_drain" in refused, refused
    cluster.run("play", "node_drain", "-e", "node_name=beta")
    cluster.run("play", "node_remove", "-e", "node_name=beta")
    assert beta.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert cluster.nodes()["beta"]["state"] == "unknown", "it is in the inventory until it is deleted there"
    assert all(cluster.opens(seat) for seat in cluster.seats()), "its seat is elsewhere"
    cluster.machines.stop(beta)
    up(cluster, "beta is gone")
    assert cluster.nodes().keys() == {CONTROLLER, "alpha"}
