"""Between the API and Docker: a wire that can be cut, and a second dockerd that can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from tests.module.processes import containerd_below, descendants
from tests.waiting import eventually

_DEFAULT_BRIDGE, _DEFAULT_ADDRESS = "atl-api2-def", "172.20.251.1/24"


class Wire:
    """Forwards connections from its socket to Docker's until it is cut."""

    def __init__(self, folder: Path, target: str) -> None:
        self._path, self._target = folder / "docker.sock", target.removeprefix("unix://")
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    def mend(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Closes every connection, and refuses new ones."""
        self._path.unlink(missing_ok=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
            except OSError:
                return
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        self._ends.add(source)
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        # The other direction may still have something to say, as after a request that was sent whole.
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        self._ends.discard(source)


class Dockerd:
    """A second dockerd, separate from the machine's; it changes no firewall."""

    def __init__(self, folder: Path, bridge: str) -> None:
        self._folder, self._bridge = folder, bridge
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._folder / 'docker.sock'}"

    def configure(self, **settings: Any) -> None:
        """Gives the running dockerd other settings, of those that it takes without a restart."""
        (self._folder / "daemon.json").write_text(json.dumps(settings))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def start(self) -> docker.DockerClient:
        (self._folder / "docker.pid").unlink(missing_ok=True)
        if not (self._folder / "daemon.json").exists():
            self.configure()
        # With --bridge=none, dockerd would take the host's docker0 away.
        subprocess.run(["ip", "link", "add", _DEFAULT_BRIDGE, "type", "bridge"], check=False, capture_output=True)
        subprocess.run(["ip", "address", "replace", _DEFAULT_ADDRESS, "dev", _DEFAULT_BRIDGE], check=True)
        with (self._folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(
                        "dockerd",
                        f"--bridge={_DEFAULT_BRIDGE}",
                        "--iptables=false",
                        "--ip6tables=false",
                        "--ip-masq=false",
                    ),
                    f"--config-file={self._folder / 'daemon.json'}",
                    *("--data-root", str(self._folder / "data"), "--exec-root", str(self._folder / "exec")),
                    *("--pidfile", str(self._folder / "docker.pid"), "-H", self.url),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def connect() -> docker.DockerClient | None:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "dockerd.log").read_text()[-2000:]
            try:
                client = docker.DockerClient(base_url=self.url, timeout=300)
                client.ping()
            except DockerException:
                return None
            return client

        client: docker.DockerClient = eventually(connect, "the second dockerd answers")
        return client

    def kill_containerd(self) -> None:
        """kill -9 of its containerd first, and of itself before it can start another."""
        assert self._process is not None
        os.kill(int((self._folder / "exec/containerd/containerd.pid").read_text()), signal.SIGKILL)
        self.kill()

    def kill(self) -> None:
        """kill -9 of dockerd alone: its containers go on until the next one looks after them."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def kill_while_it_pauses(self, container: str) -> None:
        """kill -9 of dockerd after its containerd has paused the container, and before dockerd knows."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        containerd = self._folder / "exec/containerd/containerd.sock"
        subprocess.run(["ctr", "--address", containerd, "--namespace", "moby", "task", "pause", container], check=True)
        self.kill()

    def terminate(self) -> None:
        """Its end in good order, as when the package is updated: it stops its containers."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(90)

    def pull_the_plug(self) -> None:
        """kill -9 of dockerd, its containerd and every container, as when the machine goes down."""
        assert self._process is not None
        for pid in [self._process.pid, *descendants(self._process.pid), *containerd_below(self._folder)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
            if self._process.poll() is None:
                self.pull_the_plug()
        for pid in containerd_below(self._folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for mount in sorted(_mounts_below(self._folder), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        for bridge in (self._bridge, _DEFAULT_BRIDGE):
            subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [fields[1] for line in lines if (fields := line.split())[1].startswith(f"{folder}/")]
