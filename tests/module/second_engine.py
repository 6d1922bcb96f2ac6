"""A second, real dockerd beside the host's: for tests that kill it, fill its disk, or want it set up otherwise."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import DockerException
from docker.types import IPAMConfig, IPAMPool

from tests.module.processes import containerd_below
from tests.waiting import PATIENCE_SECONDS, eventually

NETWORK, BRIDGE, SUBNET = "atelier-second-open", "atl-test2", "172.25.250.0/24"
_DEFAULT_BRIDGE, _DEFAULT_ADDRESS = "atl-test2-def", "172.25.251.1/24"


class SecondEngine:
    """A dockerd with separate folders, socket and bridge. It sets no firewall rules, so it disturbs nothing."""

    def __init__(self, disk_mb: int | None = None, *, containerd_store: bool = False) -> None:
        # Short, since the paths of its sockets may have 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="atl2-"))
        self.url = f"unix://{self.folder}/docker.sock"
        self._data = self.folder / "data"
        self._data.mkdir()
        # Images in containerd's store instead of Docker's classic one, as new installations of Docker 29 have them.
        self._settings = {"features": {"containerd-snapshotter": containerd_store}}
        self._process: subprocess.Popen[bytes] | None = None
        if disk_mb is not None:
            image = self.folder / "disk"
            with image.open("wb") as file:
                file.truncate(disk_mb * 1024**2)
            subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(self._data)], check=True)

    def start(self) -> docker.DockerClient:
        """Starts it and waits until it answers."""
        (self.folder / "docker.pid").unlink(missing_ok=True)
        subprocess.run(["ip", "link", "add", _DEFAULT_BRIDGE, "type", "bridge"], capture_output=True, check=False)
        subprocess.run(["ip", "address", "replace", _DEFAULT_ADDRESS, "dev", _DEFAULT_BRIDGE], check=True)
        (self.folder / "daemon.json").write_text(json.dumps(self._settings))
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                "dockerd",
                f"--host={self.url}",
                f"--config-file={self.folder}/daemon.json",
                f"--data-root={self._data}",
                f"--exec-root={self.folder}/exec",
                f"--pidfile={self.folder}/docker.pid",
                # A separate bridge: otherwise dockerd would remove the host's docker0.
                f"--bridge={_DEFAULT_BRIDGE}",
                "--iptables=false",
                "--ip6tables=false",
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return eventually(self._client, f"dockerd to answer at {self.url}")  # type: ignore[no-any-return]

    def _client(self) -> docker.DockerClient | None:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with suppress(DockerException):
            client = docker.DockerClient(base_url=self.url, timeout=120)
            client.ping()
            return client
        return None

    def make_network(self, client: docker.DockerClient) -> str:
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
        client.networks.create(NETWORK, ipam=pool, options={"com.docker.network.bridge.name": BRIDGE})
        return NETWORK

    def kill(self) -> None:
        """kill -9, as a crash; its containerd and the containers go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """Ends it, whatever it was doing, and takes away everything that it made."""
        if self._process is not None and self._process.poll() is None:
            with suppress(DockerException):
                client = docker.DockerClient(base_url=self.url, timeout=60)
                for container in client.containers.list(all=True):
                    container.remove(force=True)
                for network in client.networks.list(names=[NETWORK]):
                    network.remove()
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._end_containerd()
        for pid in containerd_below(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for bridge in (BRIDGE, _DEFAULT_BRIDGE):
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
        for line in Path("/proc/mounts").read_text().splitlines()[::-1]:
            place = line.split()[1]
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_containerd(self) -> None:
        path = self.folder / "exec" / "containerd" / "containerd.pid"
        deadline = time.monotonic() + 20
        with suppress(OSError, ValueError):
            pid = int(path.read_text())
            if str(self.folder) not in Path(f"/proc/{pid}/cmdline").read_text():
                return
            while time.monotonic() < deadline:
                os.kill(pid, signal.SIGTERM)
                time.sleep(0.1)
