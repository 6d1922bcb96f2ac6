"""A front gateway and a node's gateway on one machine, made by the roles, with simulated seats behind them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONTROLLER, ALPHA = "atelier-gateways", "atelier-gateways-alpha"
# The first addresses of the two bridges are this machine's, so what listens there stands for machines and seats.
CONTROLLER_ADDRESS, NODE_ADDRESS = "172.20.224.1", "172.20.225.1"
FRONT, SEATS, ENGINE, CONTROLLER_GIT, REGISTRY, FRONT_GIT, NODE_GIT = range(18511, 18518)
BRIDGE = "atl-gtw"
DOCKER_CERTS = Path(f"/etc/docker/certs.d/{CONTROLLER_ADDRESS}:{REGISTRY}")
# RFC 6455, section 1.3.
_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Machines:
    """The controller and the node `alpha`: two installations of the roles, each with its own folder."""

    def __init__(self, folder: Path) -> None:
        self.controller, self.alpha = folder / "controller", folder / "alpha"
        self.pki = self.controller / "pki"
        local = {"ansible_connection": "forked", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        controller = {
            "atelier_instance": CONTROLLER,
            "atelier_state_dir": str(self.controller),
            "atelier_network_open_bridge": BRIDGE,
            "atelier_network_open_subnet": "172.20.224.0/24",
            # On real machines all have the same ranges.
            "atelier_gateway_seat_subnets": ["172.20.224.0/24", "172.20.225.0/24"],
            "atelier_git_port": FRONT_GIT,
            # Docker's own is the node's here.
            "atelier_pki_docker_certs_dir": str(folder / "certs.d"),
        }
        alpha = {
            "atelier_node_address": NODE_ADDRESS,
            "atelier_instance": ALPHA,
            "atelier_state_dir": str(self.alpha),
            "atelier_network_open_bridge": "atl-gtw-alpha",
            "atelier_network_open_subnet": "172.20.225.0/24",
            "atelier_git_port": NODE_GIT,
        }
        # What cluster_checks finds out about a machine.
        alpha |= {"atelier_systemd": Path("/run/systemd/system").exists(), "atelier_service_oom_score_adj": 0}
        shared = {
            "atelier_base_port": FRONT,
            "atelier_enable_proxy": False,
            "atelier_controller_address": CONTROLLER_ADDRESS,
            "atelier_node_gateway_port": SEATS,
            "atelier_node_engine_port": ENGINE,
            "atelier_controller_git_port": CONTROLLER_GIT,
            "atelier_registry_port": REGISTRY,
        }
        groups = {
            "controller": {"hosts": {"localhost": local | controller | shared}},
            "nodes": {"hosts": {"alpha": local | alpha | shared}},
        }
        self.first_run = ""
        self._inventory = folder / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"children": groups}}))

    def converge(self, *arguments: str) -> str:
        """Runs the roles on both. Returns the output, with all that Ansible can be made to show."""
        return self._play(ROOT / "tests/cluster/gateways.yml", "--diff", "-vvv", *arguments)

    def collect_garbage(self) -> None:
        self._play(ROOT / "playbooks/registry_collect.yml")

    def purge(self) -> None:
        words = {"platform_down_purge": True, "platform_down_images": False}
        self._play(ROOT / "playbooks/platform_down.yml", "-e", json.dumps(words))
        shutil.rmtree(DOCKER_CERTS, ignore_errors=True)
        pulled = ["docker", "images", "--quiet", "--filter", f"reference={CONTROLLER_ADDRESS}:{REGISTRY}/*/*"]
        for image in set(subprocess.run(pulled, capture_output=True, text=True, check=True).stdout.split()):
            self._untag(image)

    def _untag(self, image: str) -> None:
        """Removes the names by which the node pulled an image; the image itself is the host's."""
        names = "{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}"
        inspect = ["docker", "image", "inspect", "--format", names, image]
        for name in subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.split():
            if name.startswith(f"{CONTROLLER_ADDRESS}:"):
                subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)

    def _play(self, playbook: Path, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook)]
        inventories = ["-i", str(ROOT / "inventory/localhost.yml"), "-i", str(self._inventory)]
        run = subprocess.run(
            [*command, *inventories, *arguments],
            cwd=ROOT,
            env=os.environ
            | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        faults = [line for line in run.stdout.splitlines() if line.startswith("[ERROR]")]
        assert run.returncode == 0, "\n".join(faults) + run.stdout[-1000:] + run.stderr[-1000:]
        return run.stdout

    # --- Asking -------------------------------------------------------------------------------------------------------

    def route(self, id: str, address: str, node: str | None = None) -> None:
        """Leads an id to an address, on a node or on the controller, as the core does: in the file and at once."""
        self._map("routes", id, address)
        if node is not None:
            self._map("nodes", id, node)

    def _map(self, name: str, key: str, value: str) -> None:
        table = self.controller / f"gateway/{name}.map"
        with table.open("a") as file:
            file.write(f"{key} {value}\n")
        self._tell(f"add map {table} {key} {value}")

    def open_port(self, id: str) -> None:
        """Lets everybody open the ports of that id, as of a workspace without password."""
        self._map("ports", id, "open")

    def _tell(self, command: str) -> None:
        script = f"echo {command!r} | socat stdio unix-connect:{self.controller}/gateway/admin.sock"
        subprocess.run(["docker", "exec", f"{CONTROLLER}-gateway", "sh", "-c", script], check=True, capture_output=True)

    def get(self, name: str, path: str = "/", **headers: str) -> tuple[int, str]:
        """The front gateway's answer to a browser that asks for a host name."""
        with closing(http.client.HTTPConnection("127.0.0.1", FRONT, timeout=20)) as connection:
            connection.request("GET", path, headers={"Host": f"{name}.localhost:{FRONT}", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def tls(self, role: str | None) -> ssl.SSLContext:
        """Trusts the installation's authority and shows the certificate of that role, if any."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        if role:
            context.load_cert_chain(self.pki / f"{role}.pem")
        return context

    def ask(
        self, port: int, role: str | None, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Asks one of the ports with mutual TLS."""
        address = CONTROLLER_ADDRESS if port in (CONTROLLER_GIT, REGISTRY) else NODE_ADDRESS
        connection = http.client.HTTPSConnection(address, port, timeout=20, context=self.tls(role))
        with closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers


class _Seat(BaseHTTPRequestHandler):
    """Tells what it was asked, and echoes what follows an upgrade."""

    protocol_version = "HTTP/1.1"
    # As code-server: otherwise the kernel holds back what follows the headers for 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            proof = hashlib.sha1(f"{self.headers['Sec-WebSocket-Key']}{_WEBSOCKET}".encode()).digest()  # noqa: S324
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(proof).decode())
            self.end_headers()
            while data := self.connection.recv(1024):
                self.connection.sendall(data)
            self.close_connection = True
            return
        body = f"{self.path}\n{self.headers}".lower().encode()
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("Content-Length", str(len(body)))
        # A seat that claims to be its machine's gateway.
        self.send_header("X-Atelier-Node", "alpha")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Not in the tests' output."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *request: Any) -> None:
        """Gateways reset connections; that is not for the tests' output."""


@contextmanager
def seat(port: int = 8082) -> Iterator[None]:
    """A program of a seat of the node: at the bridge's own address, which is in its seats' range."""
    with _Server((NODE_ADDRESS, port), _Seat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@contextmanager
def running(folder: Path) -> Iterator[Machines]:
    machines = Machines(folder)
    found = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    if f" {BRIDGE}: " in found:  # of a session that was killed
        machines.purge()
    try:
        yield machines
    finally:
        machines.purge()


def container_does(verb: str, name: str) -> None:
    subprocess.run(["docker", verb, name], check=True, capture_output=True)
