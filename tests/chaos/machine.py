"""A separate machine for chaos tests: a second dockerd with its supervisor, and a whole installation in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from tests.installed import ROOT, front_door
from tests.module.installation import Installation
from tests.module.processes import containerd_below
from tests.waiting import PATIENCE_SECONDS, eventually

INSTANCE = "atelier-chaos"
PORT = 18101
_BRIDGE, _ADDRESS = "atl-cha-def", "172.20.252.1/24"


class Machine:
    """The processes of the second dockerd and of the platform in it, by name."""

    def __init__(self, folder: str | None = None) -> None:
        # Short, since the paths of its sockets may have 107 characters. The containers' users must be able to pass.
        self.folder = Path(folder or tempfile.mkdtemp(prefix="atl-chaos-"))
        self.folder.chmod(0o711)
        self._images = self.folder / "images.json"
        self.variables = {
            **self._of_engine(),
            "atelier_systemd": False,
            "atelier_instance": INSTANCE,
            "atelier_state_dir": str(self.folder / "state"),
            "atelier_service_container_start_timeout": PATIENCE_SECONDS,
            "atelier_engine_url": f"unix://{self.folder}/docker.sock",
            "atelier_base_port": PORT,
            "atelier_network_open_bridge": "atl-cha",
            "atelier_network_open_subnet": "172.20.128.0/20",
            "atelier_network_logging_bridge": "atl-cha-log",
            "atelier_network_logging_subnet": "172.20.144.0/20",
            "atelier_network_security_bridge": "atl-cha-sec",
            "atelier_network_security_subnet": "172.20.160.0/20",
            "atelier_templates": ["empty"],
        }
        self.file = self.folder / "variables.json"
        self.file.write_text(json.dumps(self.variables))

    def _of_engine(self) -> dict[str, Any]:
        of_engine = {
            "start_script": f"{self.folder}/start-dockerd",
            "pidfile": f"{self.folder}/docker.pid",
            "containerd_pidfile": f"{self.folder}/exec/containerd/containerd.pid",
            "log": f"{self.folder}/dockerd.log",
            "lock": f"{self.folder}/lock",
            "cron_dir": f"{self.folder}/cron.d",
            "firewall_dir": f"{self.folder}/firewall.d",
            "restart_pause": 1,
            "dockerd_args": [
                f"--config-file={self.folder}/daemon.json",
                f"--data-root={self.folder}/data",
                f"--exec-root={self.folder}/exec",
                # A separate bridge: otherwise dockerd would remove the host's docker0.
                f"--bridge={_BRIDGE}",
                "--iptables=false",
                "--ip6tables=false",
            ],
        }
        return {f"atelier_docker_host_{name}": value for name, value in of_engine.items()}

    @property
    def engine_url(self) -> str:
        return str(self.variables["atelier_engine_url"])

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.engine_url, timeout=120)

    # --- Making -----------------------------------------------------------------------------------------------------

    def install(self) -> Installation:
        """Starts dockerd, copies the images, installs the platform."""
        subprocess.run(["ip", "link", "add", _BRIDGE, "type", "bridge"], check=False, capture_output=True)
        subprocess.run(["ip", "address", "replace", _ADDRESS, "dev", _BRIDGE], check=True)
        (self.folder / "daemon.json").write_text("{}")
        _play("images.yml", "-e", f"images_file={self._images}")
        _play("engine.yml", "-e", f"@{self.file}")
        self._copy_images()
        made = front_door("play", "site", "-e", f"@{self.file}")
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-2000:]
        return self.installation()

    def installation(self) -> Installation:
        network = f"{INSTANCE}-open"
        return Installation(INSTANCE, self.folder, "172.20.128.0/20", network, self.engine_url, **self.variables)

    def _copy_images(self) -> None:
        services = json.loads(self._images.read_text())
        ides = [tag for image in docker.from_env().api.images("atelier/ide") for tag in image["RepoTags"] or ()]
        wanted = [*services, *ides, "atelier/base:trixie", "atelier/workspace:empty"]
        with subprocess.Popen(["docker", "save", *wanted], stdout=subprocess.PIPE) as saving:
            loading = ["docker", "--host", self.engine_url, "load", "--quiet"]
            subprocess.run(loading, stdin=saving.stdout, check=True, stdout=subprocess.DEVNULL)
        assert saving.returncode == 0

    def configure(self, **settings: Any) -> None:
        """Gives the running dockerd settings, of those that it takes without a restart."""
        (self.folder / "daemon.json").write_text(json.dumps(settings))
        os.kill(self.dockerd(), signal.SIGHUP)

    # --- Processes --------------------------------------------------------------------------------------------------

    def dockerd(self) -> int:
        return int((self.folder / "docker.pid").read_text())

    def containerd(self) -> int:
        return int((self.folder / "exec/containerd/containerd.pid").read_text())

    def everything(self) -> list[int]:
        """The processes that end when the machine loses its power: dockerd, containerd, shims, all containers."""
        return [self.dockerd(), *containerd_below(self.folder), *_cgroup_members(self.client())]

    def answers(self) -> bool:
        with suppress(DockerException, OSError):
            client = docker.DockerClient(base_url=self.engine_url, timeout=10)
            try:
                return bool(client.ping())
            finally:
                client.close()
        return False

    # --- Removing ---------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        if self.answers():
            front_door("down", "--purge", "--yes", "-e", f"@{self.file}")
        script = self.folder / "start-dockerd"
        if script.exists():
            subprocess.run([script, "unsupervise"], check=False)
        with suppress(OSError, ValueError):
            pid = self.dockerd()
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not lives(pid), "dockerd ends", 60)
        for pid in containerd_below(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "link", "delete", _BRIDGE], check=False, capture_output=True)
        for line in Path("/proc/mounts").read_text().splitlines()[::-1]:
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def machine() -> Iterator[tuple[Machine, Installation]]:
    """A machine that is removed in the end. For work on these tests, keep one in a folder and name it in
    ATELIER_CHAOS_FOLDER."""
    kept = os.environ.get("ATELIER_CHAOS_FOLDER")
    if kept:
        made = Machine(kept)
        yield made, made.installation()
        return
    made = Machine()
    try:
        yield made, made.install()
    finally:
        made.remove()


def _play(name: str, *arguments: str) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), str(ROOT / "tests/chaos" / name), *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def _cgroup_members(client: docker.DockerClient) -> list[int]:
    found: list[int] = []
    for container in client.containers.list(ignore_removed=True):
        with suppress(APIError):  # it has ended meanwhile
            found += [int(row[0]) for row in container.top(ps_args="-o pid")["Processes"]]
    return found


def lives(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it until its parent asks."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
