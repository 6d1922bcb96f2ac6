"""An installation on three machines, made by `./atelier up`: this host, and two machines in containers."""

from __future__ import annotations

import csv
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker
from atelier.common.models import CONTROLLER
from atelier.engine.connections import ClientCertificate
from atelier.engine.image_registry import ImageRegistry

from tests.engine import only_session
from tests.installed import front_door
from tests.waiting import PATIENCE_SECONDS

from .machines import EQUIPPED, SUBNET, Machine, Machines, machines

INSTANCE = "atelier-three"
PORT = 18171
REGISTRY = 18175
RANGES = {
    "atelier_network_open_bridge": "atl-three",
    "atelier_network_open_subnet": "172.20.64.0/20",
    "atelier_network_logging_bridge": "atl-three-log",
    "atelier_network_logging_subnet": "172.20.80.0/20",
    "atelier_network_security_bridge": "atl-three-sec",
    "atelier_network_security_subnet": "172.20.96.0/20",
    "atelier_swarm_bridge_subnet": "172.20.113.0/24",
    "atelier_swarm_address_pool": "172.20.114.0/24",
}
# Something else in the machines' network: the internet of these tests, and the first of the machines.
WORLD, MACHINE = str(SUBNET[200]), str(SUBNET[11])
ADMIN_PASSWORD = "of-the-workshop-s-admin"


class Cluster:
    """The installation: this host is its controller, with a base and seats that are spread over all machines.
    ``variables`` come before its own."""

    def __init__(self, made: Machines, folder: Path, client: docker.DockerClient, **variables: Any) -> None:
        self.machines, self.state, self.client = made, folder / "state", client
        self.variables = folder / "variables.json"
        self.variables.write_text(
            json.dumps(
                {
                    "atelier_instance": INSTANCE,
                    "atelier_image_prefix": INSTANCE,
                    "atelier_state_dir": str(self.state),
                    "atelier_service_container_start_timeout": PATIENCE_SECONDS,
                    "atelier_base_port": PORT,
                    "atelier_git_port": 18172,
                    "atelier_recorder_port": 18173,
                    "atelier_squid_port": 18174,
                    "atelier_registry_port": REGISTRY,
                    "atelier_controller_git_port": 18176,
                    "atelier_templates": ["empty"],
                    "atelier_squid_lease_seconds": 30,
                    # Nothing but being a machine closes an address to a seat.
                    "atelier_network_internal_destinations": [str(SUBNET)],
                    # The internet of these tests: one server, which is at a private address.
                    "atelier_squid_internal_destinations": [WORLD],
                    "atelier_recorder_allowed_networks": [f"{WORLD}/32"],
                    "atelier_squid_hosts": {
                        "allowed.example": WORLD,
                        "other.example": WORLD,
                        "machine.example": MACHINE,
                    },
                    "atelier_recorder_hosts": {"llm.example": WORLD, "machine.example": MACHINE},
                    "atelier_workshop_admin_password": ADMIN_PASSWORD,
                    "workshop_seats": 5,
                    "workshop_git_repo": True,
                    "workshop_memory": "1g",
                    **RANGES,
                    **variables,
                }
            )
        )

    def run(self, *arguments: str, fails: bool = False) -> str:
        done = front_door(*arguments, "-i", str(self.machines.inventory()), "-e", f"@{self.variables}")
        assert (done.returncode != 0) is fails, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def stored(self, kind: str) -> list[str]:
        """The images of that kind in the image registry."""
        certificate = ClientCertificate.of(self.state / "pki", "registry-client")
        registry = ImageRegistry(f"{self.machines.controller_address}:{REGISTRY}", certificate)
        return registry.names(f"{INSTANCE}/{kind}")

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer to the operator, who is also the workshop's admin."""
        status, answer = self.ask("localhost", path, method, body, headers={"X-Admin-Password": ADMIN_PASSWORD})
        assert status < 300, answer
        return json.loads(answer)

    def ask(
        self,
        host: str,
        path: str,
        method: str = "GET",
        body: Any = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        seconds: float = 600,
    ) -> tuple[int, str]:
        """Status and body of what the front gateway answers."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=seconds)
        json_body = {"Content-Type": "application/json"} if body is not None else {}
        headers = {"Host": f"{host}:{PORT}", **json_body, **headers}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(errors="replace")
        connection.close()
        return found

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines.all if machine.name == name)

    def seats(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", "/api/projects")["projects"]
        return found

    def password(self, seat: dict[str, Any]) -> str:
        """The password that `up` gave to the seat."""
        (sheet,) = self.state.glob("workshop-*.csv")
        with sheet.open(newline="") as file:
            return next(row["password"] for row in csv.DictReader(file) if row["name"] == seat["name"])

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.api("GET", "/api/nodes")["nodes"]}

    def is_up(self) -> bool:
        """Whether the platform answers, and all machines are ready: for Swarm, which takes its time to notice, and for
        the API, whose connections to their engines end."""
        with suppress(OSError, ValueError, AssertionError):
            _, metrics = self.ask("localhost", "/metrics")
            nodes = self.nodes()
            up = all(f'atelier_node_up{{node="{name}"}} 1.0' in metrics.splitlines() for name in nodes)
            return up and {node["state"] for node in nodes.values()} == {"ready"}
        return False

    def opens(self, seat: Mapping[str, Any], *, seconds: float = 600) -> bool:
        """Whether a person who opens the seat's address comes to its IDE."""
        status, page = self.ask(f"{seat['id']}.localhost", "/healthz", seconds=seconds)
        return (status == 200 and "alive" in page) or (status == 200 and "expired" in page)

    def in_seat(self, machine: Machine, seat: dict[str, Any], script: str) -> str:
        found = self.containers(machine.name, seat["id"])
        assert len(found) == 1, f"of {seat['id']}: {found}; {self.at(machine.name, 'docker', 'ps', '--all')}"
        return machine.run("docker", "exec", found[0], "bash", "-c", script)

    def containers(self, node: str, workspace_id: str = "", *, all: bool = False) -> list[str]:
        """The names of the containers of workspaces, or of one, that run there, or all that there are."""
        label = f"label=atelier.workspace{'=' if workspace_id else ''}{workspace_id}"
        ours = f"label=atelier.instance={INSTANCE}"
        some = [*(["--all"] if all else []), "--filter", label, "--filter", ours]
        return self.at(node, "docker", "ps", "--format", "{{.Names}}", *some).split()

    def at(self, node: str, *command: str) -> str:
        """The output of a command on that machine, which must succeed."""
        if node != CONTROLLER:
            return self.machine(node).run(*command)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def three_machines(
    folder: Path,
    labels: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    nodes: Sequence[str] = ("alpha", "beta"),
    **variables: Any,
) -> Iterator[Cluster]:
    """The installation, with nothing left of it afterwards. ``labels`` are those of machines, ``nodes`` those that it
    has at first beside the controller."""
    with only_session("atelier-cluster"):
        client = docker.from_env(timeout=600)
        for image in client.api.images(filters={"reference": "atelier/*"}):
            for tag in image["RepoTags"] or ():
                name, _, version = tag.removeprefix("atelier/").rpartition(":")
                client.api.tag(tag, f"{INSTANCE}/{name}", version)
        with machines(client, EQUIPPED) as made:
            for name in nodes:
                made.start(name, atelier_node_labels=dict(labels.get(name, {})))
            installed = Cluster(made, folder, client, **variables)
            try:
                print(installed.run("up"))
                yield installed
            finally:
                installed.run("down", "--purge", "--yes")
            for machine in made.all:
                assert not machine.run("docker", "images", "--all").splitlines()[1:], "no image is left on a node"
        ours = {"label": f"atelier.instance={INSTANCE}"}
        assert not client.api.containers(all=True, filters=ours)
        assert not installed.state.exists()
        assert client.info()["Swarm"]["LocalNodeState"] == "inactive"
