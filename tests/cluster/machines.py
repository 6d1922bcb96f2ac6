"""Machines for tests: privileged containers with sshd on a separate bridge, which Ansible reaches over SSH.

Each is bare: Docker comes by the roles under test; or else equipped, with Docker installed, which takes a minute less.
``/var/lib/docker`` is a volume, because overlayfs does not stack.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.waiting import eventually

NETWORK = "atelier-cluster"
BRIDGE = "atl-machines"
SUBNET = IPv4Network("172.20.112.0/24")
IMAGE = "atelier-cluster/machine:bare"
EQUIPPED = "atelier-cluster/machine:equipped"
_LABEL = "atelier-cluster.machine"
_END = b"<the output is whole>"
_TO_FILE = f'"$@" >"$0" 2>&1; code=$?; printf "{_END.decode()}" >>"$0"; cat "$0"; exit $code'
# In memory.
_FOLDER = "/run"
_READS = 10
_CONTROLLER = {"ansible_connection": "forked", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


@dataclass
class Machine:
    """A running machine. ``variables`` are its host's in the inventory, besides those that SSH needs."""

    name: str
    address: str
    container: Container
    variables: dict[str, Any] = field(default_factory=dict)

    def run(self, *command: str) -> str:
        """The output of a command as root, which must succeed.

        Two seconds after the end of a command Docker closes its output, whether all of it has come or not. A busy
        machine loses some of it, or everything, with exit code 0. So it is also in a file, and is read until it is
        whole."""
        file = f"{_FOLDER}/output-{secrets.token_hex(8)}"
        code, output = self.container.exec_run(["sh", "-c", _TO_FILE, file, *command])
        for _ in range(_READS):
            if output.endswith(_END):
                break
            _, output = self.container.exec_run(["cat", file])
        text = output.removesuffix(_END).decode()
        assert code == 0 and output.endswith(_END), f"{command} on {self.name}: {text}"
        return str(text.strip())


class Machines:
    """The machines of one test session, their SSH key and their inventory, in a folder that goes with them."""

    # Where they reach the host, which is the controller.
    controller_address = str(SUBNET[1])

    def __init__(self, engine: docker.DockerClient, image: str = IMAGE) -> None:
        self._engine = engine
        self._image = image
        self.folder = Path(tempfile.mkdtemp(prefix="atl-machines-"))
        self.all: list[Machine] = []
        self._made = 0
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self._key = key

    def start(self, *names: str, before: Sequence[str] = (), **variables: Any) -> list[Machine]:
        """Starts machines and waits until they accept the key. ``before`` are the words that sshd is run by;
        ``variables`` are those of the hosts in the inventory."""
        return [self._ready(self._make(name, before, variables)) for name in names]

    def serve(self, address: str, program: str) -> None:
        """Runs a Python program at an address of the machines' network, beside them."""
        endpoint = self._engine.api.create_endpoint_config(ipv4_address=address)
        made = self._engine.api.create_container(
            IMAGE,
            entrypoint=["python3", "-c", program],
            labels={_LABEL: "server"},
            host_config=self._engine.api.create_host_config(network_mode=NETWORK),
            networking_config=self._engine.api.create_networking_config({NETWORK: endpoint}),
        )
        self._engine.api.start(made["Id"])

    def stop(self, machine: Machine) -> None:
        """Removes the machine, also from the inventory."""
        machine.container.remove(force=True, v=True)
        self.all.remove(machine)

    def _make(self, name: str, before: Sequence[str], variables: Mapping[str, Any]) -> Machine:
        self._made += 1
        address = str(SUBNET[10 + self._made])
        endpoint = self._engine.api.create_endpoint_config(ipv4_address=address)
        made = self._engine.api.create_container(
            self._image,
            list(before),
            name=f"{NETWORK}-{name}",
            hostname=name,
            labels={_LABEL: name},
            volumes=["/var/lib/docker"],
            host_config=self._engine.api.create_host_config(
                privileged=True,
                network_mode=NETWORK,
                # Not /tmp: there the tests' installations have their state, which a machine keeps when its power goes.
                tmpfs={"/run": ""},
            ),
            networking_config=self._engine.api.create_networking_config({NETWORK: endpoint}),
        )
        container = self._engine.containers.get(made["Id"])
        container.start()
        machine = Machine(name, address, container, dict(variables))
        self.all.append(machine)
        authorized = (self.folder / "key.pub").read_text().strip()
        machine.run("sh", "-c", f"install -m 700 -d /root/.ssh && echo '{authorized}' >/root/.ssh/authorized_keys")
        return machine

    def _ready(self, machine: Machine) -> Machine:
        answers = ["ssh", "-i", str(self._key), *self._options(), f"root@{machine.address}", "true"]
        eventually(
            lambda: subprocess.run(answers, check=False, capture_output=True).returncode == 0,
            f"{machine.name} accepts the key",
        )
        return machine

    def _options(self) -> list[str]:
        return [
            *("-o", f"UserKnownHostsFile={self.folder}/known_hosts"),
            *("-o", "StrictHostKeyChecking=accept-new"),
            *("-o", "ConnectTimeout=5"),
        ]

    def inventory(self, others: Mapping[str, Mapping[str, Any]] = {}, **variables: Any) -> Path:
        """Writes the inventory: the controller, all machines, and ``others``, hosts that are no machines of ours.
        ``variables`` are those of all hosts. The repository's group variables lie beside it."""
        ours = {machine.name: {"ansible_host": machine.address, **machine.variables} for machine in self.all}
        # Variables of a group in this file would lose against group_vars/all.
        hosts = {name: {**variables, **own} for name, own in {**ours, **others}.items()}
        controller = {**_CONTROLLER, "atelier_controller_address": self.controller_address, **variables}
        reached = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": " ".join(self._options()),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = {
            "controller": {"hosts": {"localhost": controller}},
            "nodes": {"hosts": {"localhost": {}, **hosts}, "vars": reached},
        }
        file = self.folder / "inventory.yml"
        file.write_text(yaml.safe_dump({"all": {"children": inventory}}))
        with suppress(FileExistsError):
            (self.folder / "group_vars").symlink_to(Path(__file__).parents[2] / "inventory" / "group_vars")
        return file

    def remove(self) -> None:
        _remove_all(self._engine)
        shutil.rmtree(self.folder)


@contextmanager
def machines(engine: docker.DockerClient, image: str = IMAGE) -> Iterator[Machines]:
    """A bridge for machines, and nothing left of it and them afterwards."""
    _remove_all(engine)  # of a session that was killed
    for name in {IMAGE, image}:
        folder, target = str(Path(__file__).parent), name.rpartition(":")[2]
        engine.images.build(path=folder, tag=name, target=target, rm=True)
    engine.networks.create(
        NETWORK,
        driver="bridge",
        options={"com.docker.network.bridge.name": BRIDGE},
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(SUBNET))]),
    )
    made = Machines(engine, image)
    try:
        with _settings_kept():
            yield made
    finally:
        made.remove()


@contextmanager
def away(machine: Machine, how: str) -> Iterator[None]:
    """Within the block the machine has no ``power``, no ``network``, or does ``hang``."""
    if how == "power":
        machine.container.kill()
        try:
            yield
        finally:
            machine.container.start()
            # What cron does at boot on a machine without systemd.
            machine.run("/usr/local/lib/atelier/start-dockerd")
    elif how == "network":
        cable = _cable(machine)
        subprocess.run(["ip", "link", "set", cable, "down"], check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "link", "set", cable, "up"], check=True)
    else:
        machine.container.pause()
        try:
            yield
        finally:
            machine.container.unpause()


def _cable(machine: Machine) -> str:
    """The host's end of the machine's network interface."""
    index = machine.run("cat", "/sys/class/net/eth0/iflink")
    found: list[str] = []
    for file in Path("/sys/class/net").glob("*/ifindex"):
        with suppress(OSError):  # that of a container which ends just now
            if file.read_text().strip() == index:
                found.append(file.parent.name)
    (cable,) = found
    return cable


def kill_docker(machine: Machine) -> None:
    """Kills its Docker, and waits until the next one answers, which its supervisor starts."""
    killed = machine.run("cat", "/var/run/docker.pid")
    machine.run("kill", "-KILL", killed)
    another = f'[ "$(cat /var/run/docker.pid)" != {killed} ] && docker info'
    eventually(
        lambda: machine.container.exec_run(["sh", "-c", another]).exit_code == 0,
        f"Docker is back on {machine.name}",
    )


@contextmanager
def _settings_kept() -> Iterator[None]:
    """A Swarm makes `up` change this host's Docker, whose settings are as before afterwards."""
    file = Path("/etc/docker/daemon.json")
    before = file.read_text() if file.exists() else None
    try:
        yield
    finally:
        if before is not None and file.read_text() != before:
            file.write_text(before)
            os.kill(int(Path("/var/run/docker.pid").read_text()), signal.SIGHUP)


def _remove_all(engine: docker.DockerClient) -> None:
    for container in engine.containers.list(all=True, filters={"label": _LABEL}):
        container.remove(force=True, v=True)
    with suppress(NotFound):
        engine.networks.get(NETWORK).remove()
