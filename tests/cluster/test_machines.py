"""Machines become nodes over SSH: the operator's view, and what seats there cannot reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.engine import only_session
from tests.installed import ROOT, front_door

from .machines import IMAGE, SUBNET, Machine, Machines, machines

# The first test waits for the other file's machines and for Docker's installation.
pytestmark = pytest.mark.timeout(2400)
INSTANCE = "atelier-machines"
VARIABLES = {
    "atelier_instance": INSTANCE,
    "atelier_base_port": 18121,
    "atelier_git_port": 18122,
    "atelier_recorder_port": 18123,
    "atelier_squid_port": 18124,
    "atelier_network_open_bridge": "atl-mac",
    "atelier_network_logging_bridge": "atl-mac-log",
    "atelier_network_logging_subnet": "172.20.80.0/20",
    "atelier_network_security_bridge": "atl-mac-sec",
    "atelier_network_security_subnet": "172.20.96.0/20",
    "atelier_swarm_address_pool": "172.20.114.0/24",
}
# Variables of the inventory's, so that a host may have others.
RANGES = {"atelier_network_open_subnet": "172.20.64.0/20", "atelier_swarm_bridge_subnet": "172.20.113.0/24"}
# Nobody has this address.
NOBODY = "172.20.112.250"


class Cluster:
    """The controller, which is this host, with its nodes."""

    def __init__(self, made: Machines, folder: Path) -> None:
        self.machines = made
        self._variables = folder / "variables.json"
        self._variables.write_text(json.dumps({**VARIABLES, "atelier_state_dir": str(folder / "state")}))

    def make_nodes(self, others: Mapping[str, Mapping[str, Any]] = {}, **variables: Any) -> tuple[bool, str]:
        """Whether the roles that make nodes succeed on all machines, and what is shown of it."""
        inventory = self.machines.inventory(others, **{**RANGES, **variables})
        program = Path(sys.executable).with_name("ansible-playbook")
        play = [program, "-i", inventory, Path(__file__).parent / "nodes.yml", "-e", f"@{self._variables}"]
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run(play, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def purge(self) -> None:
        inventory = str(self.machines.inventory(**RANGES))
        removed = front_door("down", "--purge", "--yes", "-i", inventory, "-e", f"@{self._variables}")
        assert removed.returncode == 0, removed.stdout[-4000:] + removed.stderr[-2000:]


@dataclass(frozen=True)
class FirstRun:
    """The first run, on two machines that can be nodes and some that cannot."""

    cluster: Cluster
    alpha: Machine
    beta: Machine
    succeeded: bool
    output: str


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    with only_session("atelier-cluster"):
        client = docker.from_env(timeout=300)
        assert client.info()["Swarm"]["LocalNodeState"] == "inactive", "this host's Docker is in a Swarm already"
        yield client
        assert client.info()["Swarm"]["LocalNodeState"] == "inactive"


@pytest.fixture(scope="module")
def first_run(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRun]:
    with machines(engine) as made:
        cluster = Cluster(made, tmp_path_factory.mktemp("cluster"))
        alpha, beta = made.start("alpha", "beta")
        (other,) = made.start("other", before=["setarch", "i686"], atelier_cluster_clock_seconds=-1)
        hosts = {"twice": {"ansible_host": alpha.address}, "away": {"ansible_host": NOBODY}}
        try:
            succeeded, output = cluster.make_nodes(hosts)
            made.stop(other)
            yield FirstRun(cluster, alpha, beta, succeeded, output)
        finally:
            cluster.purge()


def nodes(engine: docker.DockerClient) -> dict[str, dict[str, str]]:
    """The labels of the Swarm's nodes, by their name; all of them are ready."""
    found = [node.attrs for node in engine.nodes.list()]
    assert {node["Status"]["State"] for node in found} == {"ready"}
    labels = [dict(node["Spec"]["Labels"]) for node in found]
    return {label.pop("atelier.node"): label for label in labels}


def test_machines_that_cannot_be_nodes_are_refused_and_the_others_go_on(
    first_run: FirstRun, engine: docker.DockerClient
) -> None:
    told = first_run.output
    assert not first_run.succeeded
    assert f"away: it cannot be reached over SSH at {NOBODY} (ansible_host)" in told
    assert f"twice: atelier_node_address is {first_run.alpha.address}, like that of alpha." in told
    assert "twice: its host name is alpha, like that of alpha." in told
    assert "other: its architecture is i386, and images are built for the controller, which is" in told
    assert "other: its clock differs from the controller's by" in told
    assert nodes(engine) == {"controller": {}, "alpha": {}, "beta": {}}
    # Not ranges that Docker chose.
    bridge = ["docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "docker_gwbridge"]
    assert first_run.alpha.run(*bridge) == RANGES["atelier_swarm_bridge_subnet"]
    (ingress,) = engine.networks.list(names=["ingress"])
    ranges = [engine.networks.get("docker_gwbridge"), ingress]
    assert [found.attrs["IPAM"]["Config"][0]["Subnet"] for found in ranges] == [
        RANGES["atelier_swarm_bridge_subnet"],
        VARIABLES["atelier_swarm_address_pool"],
    ]


def test_a_seat_on_a_node_reaches_no_machine(first_run: FirstRun) -> None:
    alpha, beta = first_run.alpha, first_run.beta
    with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saving:
        loading = ["docker", "exec", "-i", alpha.container.name, "docker", "load", "--quiet"]
        subprocess.run(loading, stdin=saving.stdout, check=True, capture_output=True)
    seat = ["docker", "run", "--rm", "--network", f"{INSTANCE}-open", "--entrypoint", "bash", IMAGE, "-c"]
    swarm = (first_run.cluster.machines.controller_address, 2377)
    for address, port in ((alpha.address, 22), (beta.address, 22), (beta.address, 7946), swarm):
        connect = f"timeout 2 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed"
        assert alpha.run("bash", "-c", connect) == "open", f"{address}:{port} from the node itself"
        assert alpha.run(*seat, connect) == "closed", f"{address}:{port} from a seat"


def test_a_node_that_left_by_itself_joins_again_with_its_labels(
    first_run: FirstRun, engine: docker.DockerClient
) -> None:
    first_run.beta.run("docker", "swarm", "leave")
    first_run.beta.run("docker", "network", "rm", "docker_gwbridge")
    first_run.beta.variables["atelier_node_labels"] = {"gpu": "true"}
    first_run.beta.variables["atelier_swarm_bridge_subnet"] = "172.20.70.0/24"
    succeeded, output = first_run.cluster.make_nodes()
    del first_run.beta.variables["atelier_swarm_bridge_subnet"]
    assert not succeeded
    assert "atelier_swarm_bridge_subnet is 172.20.70.0/24, which overlaps 172.20.64.0/20" in output
    succeeded, output = first_run.cluster.make_nodes()
    assert succeeded, output
    assert nodes(engine) == {"controller": {}, "alpha": {}, "beta": {"gpu": "true"}}


def test_another_run_changes_nothing(first_run: FirstRun) -> None:
    succeeded, output = first_run.cluster.make_nodes()
    assert succeeded, output
    assert "Done: 0 changed" in output


def test_an_old_docker_and_an_overlapping_range_are_refused_on_their_machine(first_run: FirstRun) -> None:
    first_run.alpha.variables["atelier_network_open_subnet"] = str(SUBNET)
    first_run.beta.variables["atelier_cluster_docker_version"] = "99.0"
    try:
        succeeded, output = first_run.cluster.make_nodes()
    finally:
        del first_run.alpha.variables["atelier_network_open_subnet"]
        del first_run.beta.variables["atelier_cluster_docker_version"]
    assert not succeeded
    assert f"atelier_network_open_subnet is {SUBNET}, which overlaps {SUBNET}" in output
    assert "atelier_cluster_docker_version requires 99.0" in output


def test_without_the_controller_s_address_nothing_begins(first_run: FirstRun) -> None:
    succeeded, output = first_run.cluster.make_nodes(atelier_controller_address="")
    assert not succeeded
    assert "alpha: atelier_controller_address is missing." in output
    assert "role docker_host" not in output
