"""One installation on three machines: seats on each of them, and what people notice when one moves or goes away."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from atelier.common.client_certificate import ClientCertificate
from atelier.engine.image_registry import ImageRegistry

from tests.engine import only_session
from tests.installed import front_door
from tests.waiting import eventually

from .machines import SUBNET, Machine, Machines, machines

# The first `up` installs Docker on two machines.
pytestmark = pytest.mark.timeout(2400)
INSTANCE = "atelier-three"
PORT = 18131
REGISTRY = 18135
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
PASSWORD = "one-of-her-own"
MARK = "what somebody wrote"
PUSH = "cd /workspace && date > pushed.txt && git add -A && git commit -qm pushed && git push -q 2>&1; git status -sb"
WORLD, MACHINE = str(SUBNET[200]), str(SUBNET[11])
_ANSWERS = """
import http.server
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"model": "test", "choices": []}')
    do_POST = do_GET
http.server.ThreadingHTTPServer(("", 80), Answers).serve_forever()
"""


class Cluster:
    """The installation: this host is its controller."""

    def __init__(self, made: Machines, folder: Path, client: docker.DockerClient) -> None:
        self.machines, self.state, self.client = made, folder / "state", client
        self.variables = folder / "variables.json"
        self.variables.write_text(
            json.dumps(
                {
                    "atelier_instance": INSTANCE,
                    "atelier_image_prefix": INSTANCE,
                    "atelier_state_dir": str(self.state),
                    "atelier_base_port": PORT,
                    "atelier_git_port": 18132,
                    "atelier_recorder_port": 18133,
                    "atelier_squid_port": 18134,
                    "atelier_registry_port": REGISTRY,
                    "atelier_controller_git_port": 18136,
                    "atelier_templates": ["empty"],
                    "atelier_squid_lease_seconds": 30,
                    # The internet of these tests: one server, which is at a private address.
                    "atelier_squid_internal_destinations": [WORLD],
                    "atelier_recorder_allowed_networks": [f"{WORLD}/32"],
                    "atelier_squid_hosts": {
                        "allowed.example": WORLD,
                        "other.example": WORLD,
                        "machine.example": MACHINE,
                    },
                    "atelier_recorder_hosts": {"llm.example": WORLD, "machine.example": MACHINE},
                    "workshop_seats": 5,
                    "workshop_git_repo": True,
                    "workshop_memory": "1g",
                    **RANGES,
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
        status, answer = self.ask("localhost", path, method, body)
        assert status < 300, answer
        return json.loads(answer)

    def ask(self, host: str, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Status and body of what the front gateway answers."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=600)
        headers = {"Host": f"{host}:{PORT}"} | ({"Content-Type": "application/json"} if body is not None else {})
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(errors="replace")
        connection.close()
        return found

    def seats(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", "/api/projects")["projects"]
        return found

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.api("GET", "/api/nodes")["nodes"]}

    def opens(self, seat: dict[str, Any]) -> bool:
        """Whether a person who opens the seat's address comes to its IDE."""
        status, page = self.ask(f"{seat['id']}.localhost", "/healthz")
        return (status == 200 and "alive" in page) or (status == 200 and "expired" in page)

    def in_seat(self, machine: Machine, seat: dict[str, Any], script: str) -> str:
        label = f"label=atelier.workspace={seat['id']}"
        found = machine.run("docker", "ps", "-q", "--filter", label)
        return machine.run("docker", "exec", found, "bash", "-c", script)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with only_session("atelier-cluster"):
        client = docker.from_env(timeout=600)
        folder = tmp_path_factory.mktemp("three")
        for image in client.api.images(filters={"reference": "atelier/*"}):
            for tag in image["RepoTags"] or ():
                name, _, version = tag.removeprefix("atelier/").rpartition(":")
                client.api.tag(tag, f"{INSTANCE}/{name}", version)
        with machines(client) as made:
            made.start("alpha", "beta")
            installed = Cluster(made, folder, client)
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


@pytest.fixture
def alpha(cluster: Cluster) -> Machine:
    return next(machine for machine in cluster.machines.all if machine.name == "alpha")


@pytest.fixture
def beta(cluster: Cluster) -> Machine:
    return next(machine for machine in cluster.machines.all if machine.name == "beta")


def on(cluster: Cluster, node: str) -> list[dict[str, Any]]:
    return [seat for seat in cluster.seats() if seat["node"] == node]


def test_seats_are_on_all_machines_and_open_through_one_address(cluster: Cluster) -> None:
    seats = cluster.seats()
    assert {seat["status"] for seat in seats} == {"running"}, [seat["error"] for seat in seats]
    assert Counter(seat["node"] for seat in seats) == {"controller": 2, "alpha": 2, "beta": 2}
    assert len({seat["gitRepository"]["branch"] for seat in seats}) == len(seats), "each has its branch"
    for seat in seats:
        assert cluster.opens(seat), seat["name"]
    nodes = cluster.nodes()
    assert [(name, node["state"], node["seats"]) for name, node in nodes.items()] == [
        ("controller", "ready", 2),
        ("alpha", "ready", 2),
        ("beta", "ready", 2),
    ]
    assert nodes["alpha"]["memoryPromised"] == 2 * 1024**3


def test_a_seat_on_a_node_pushes_to_the_git_server(cluster: Cluster, alpha: Machine) -> None:
    seat = on(cluster, "alpha")[0]
    assert "ahead" not in cluster.in_seat(alpha, seat, PUSH)


def test_a_seat_is_moved_with_its_files_and_keeps_its_address(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = on(cluster, "alpha")[0]
    cluster.in_seat(
        alpha, seat, f"echo '{MARK}' > /workspace/mine.txt; echo secret-canary > ~/.netrc; chmod 600 ~/.netrc"
    )
    moved = cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "beta"})["project"]
    assert (moved["node"], moved["status"], moved["workspaceUrl"]) == ("beta", "running", seat["workspaceUrl"])
    eventually(lambda: cluster.opens(seat), "its address opens it on the other machine", 20)
    assert cluster.in_seat(beta, seat, "cat /workspace/mine.txt ~/.netrc").splitlines() == [MARK, "secret-canary"]
    assert not alpha.run("docker", "ps", "-aq", "--filter", f"label=atelier.workspace={seat['id']}")
    history = beta.run("sh", "-c", "docker image ls -q --no-trunc | xargs docker image inspect")
    assert "secret-canary" not in history
    assert "ahead" not in cluster.in_seat(beta, seat, PUSH)
    assert cluster.stored("snapshot") == [], "what only traveled is deleted"


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> None:
    """A web server that answers every request, at the address of the allowed names. It goes with the machines."""
    cluster.machines.serve(WORLD, _ANSWERS)


def proxied(cluster: Cluster, mode: str, node: str) -> dict[str, Any]:
    """A new seat of that mode on that machine."""
    body = {"projectName": f"proxied-{mode}", "projectType": "empty", "proxyMode": mode}
    seat = cluster.api("POST", "/api/projects/create", body)["project"]
    if seat["node"] != node:
        seat = cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": node})["project"]
    assert (seat["node"], seat["status"]) == (node, "running")
    return dict(seat)


def fetched(cluster: Cluster, machine: Machine, seat: dict[str, Any], name: str) -> str:
    """The status that a program in the seat gets for a page of that host; 000 for no answer."""
    return cluster.in_seat(machine, seat, f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' http://{name}/ || true")


@pytest.mark.usefixtures("world")
def test_a_whitelist_holds_on_every_machine(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = proxied(cluster, "security", "alpha")
    assert fetched(cluster, alpha, seat, "allowed.example") == "403"
    listed = ["allowed.example", "machine.example"]
    changed = cluster.api("PUT", "/api/whitelist", {"domains": listed})
    assert "nodesBehind" not in changed
    assert fetched(cluster, alpha, seat, "allowed.example") == "200"
    assert fetched(cluster, alpha, seat, "other.example") == "403"
    assert fetched(cluster, alpha, seat, "machine.example") == "403", "an allowed name never leads to a machine"
    # Nor is there another way to the machines.
    addresses = [cluster.machines.controller_address, alpha.address, beta.address, "172.20.96.1"]
    for address in addresses:
        ports = f"22 2375 2376 2377 5000 7443 7946 18135 18136 {PORT}"
        knock = f"timeout 2 bash -c '</dev/tcp/{address}/'$port 2>/dev/null && echo $port"
        assert not cluster.in_seat(alpha, seat, f"for port in {ports}; do ({knock}) & done; wait"), address
    for host in ("machine.example", *addresses[:3]):
        tunnel = f"curl -s -m 5 -o /dev/null -w '%{{http_connect}}' https://{host}/ || true"
        assert cluster.in_seat(alpha, seat, tunnel) == "403", host

    # Its list is there before it, when it is moved.
    cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "beta"})
    assert fetched(cluster, beta, seat, "allowed.example") == "200"
    logged = cluster.api("GET", f"/api/projects/{seat['id']}/squid-logs")
    assert "unanswered" not in logged
    outcomes = Counter((line["url"], line["status"].rpartition("/")[2]) for line in logged["logs"])
    assert outcomes["http://allowed.example/", "200"] == 2, "of both machines"

    # A machine that is away is named, and has the list when it is back.
    beta.container.pause()
    try:
        behind = cluster.api("PUT", "/api/whitelist", {"domains": []})["nodesBehind"]
        assert [node["node"] for node in behind] == ["beta"]
        logged = cluster.api("GET", f"/api/projects/{seat['id']}/squid-logs")
        assert logged["unanswered"] == ["beta"]
    finally:
        beta.container.unpause()
    eventually(lambda: fetched(cluster, beta, seat, "allowed.example") == "403", "the change reaches the machine", 60)
    cluster.api("DELETE", f"/api/projects/{seat['id']}")


@pytest.mark.usefixtures("world")
def test_squid_on_a_machine_ends_without_its_controller(cluster: Cluster, alpha: Machine) -> None:
    seat = proxied(cluster, "security", "alpha")
    assert fetched(cluster, alpha, seat, "other.example") == "403"
    api = cluster.client.containers.get(f"{INSTANCE}-api")
    api.stop()
    try:
        eventually(lambda: fetched(cluster, alpha, seat, "other.example") == "000", "its proxy ends", 60)
    finally:
        api.start()
    eventually(lambda: fetched(cluster, alpha, seat, "other.example") == "403", "its proxy is back", 60)
    cluster.api("DELETE", f"/api/projects/{seat['id']}")


@pytest.mark.usefixtures("world")
def test_recordings_are_found_wherever_the_seat_was(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    seat = proxied(cluster, "logging", "alpha")
    path = f"/api/projects/{seat['id']}"
    ask = (
        "curl -s -m 10 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json'"
        ' -d \'{"model": "test", "messages": [{"role": "user", "content": "hello"}]}\''
        " http://llm.example/v1/chat/completions"
    )
    assert cluster.in_seat(alpha, seat, ask) == "200"
    assert fetched(cluster, alpha, seat, "machine.example") not in ("200", "000")
    conversations = f"{path}/llm-conversations"
    eventually(lambda: cluster.api("GET", conversations)["total"] == 1, "the first is found", 30)
    cluster.api("POST", f"{path}/move", {"node": "beta"})
    assert cluster.in_seat(beta, seat, ask) == "200"
    eventually(lambda: cluster.api("GET", conversations)["total"] == 2, "both are found", 30)
    found = cluster.api("GET", conversations)["conversations"]
    assert [one["parsed_request"]["messages"][0]["content"] for one in found] == ["hello", "hello"]
    eventually(
        lambda: cluster.api("GET", f"{path}/recorded-domains")["domains"].get("llm.example", {}).get("count") == 2,
        "requests of both machines are counted",
        60,
    )
    cluster.api("DELETE", f"{conversations}/{found[1]['timestamp']}")
    assert cluster.api("GET", conversations)["total"] == 1
    cluster.api("DELETE", path)
    for machine in (alpha, beta):
        assert seat["id"] not in machine.run("ls", f"{cluster.state}/recordings")


def test_a_machine_that_hangs_delays_nobody_and_returns(cluster: Cluster, beta: Machine) -> None:
    there, others = on(cluster, "beta"), on(cluster, "controller") + on(cluster, "alpha")
    beta.container.pause()
    try:
        begun = time.monotonic()
        eventually(
            lambda: cluster.ask(f"{there[0]['id']}.localhost", "/")[0] == 503, "the page says that it is away", 10
        )
        assert time.monotonic() - begun < 8
        _, page = cluster.ask(f"{there[0]['id']}.localhost", "/")
        assert "does not answer" in page
        assert all(cluster.opens(seat) for seat in others)
        eventually(
            lambda: {seat["status"] for seat in on(cluster, "beta")} == {"error"}, "the list says that it is away", 60
        )
        assert {seat["status"] for seat in on(cluster, "alpha")} == {"running"}
        # Work on a seat elsewhere does not wait for it.
        begun = time.monotonic()
        cluster.api("POST", f"/api/projects/{others[0]['id']}/checkpoint")
        assert time.monotonic() - begun < 60
    finally:
        beta.container.unpause()
    eventually(lambda: all(cluster.opens(seat) for seat in there), "its seats answer again", 30)
    eventually(lambda: {seat["status"] for seat in on(cluster, "beta")} == {"running"}, "the list says so", 60)


def test_a_machine_is_emptied_and_used_again(cluster: Cluster) -> None:
    cluster.run("play", "node_drain", "-e", "node_name=alpha")
    assert not on(cluster, "alpha")
    assert cluster.nodes()["alpha"]["availability"] == "paused"
    assert all(cluster.opens(seat) for seat in cluster.seats())
    cluster.run("play", "node_activate", "-e", "node_name=alpha")
    made = cluster.api("POST", "/api/projects/create", {"projectName": "afterwards", "projectType": "empty"})["project"]
    assert made["node"] == "alpha", "it has most room"


def test_a_second_up_changes_nothing(cluster: Cluster) -> None:
    assert "Done: 0 changed" in cluster.run("up")


def test_a_lost_machine_s_seats_begin_elsewhere(cluster: Cluster, alpha: Machine, beta: Machine) -> None:
    """The last one: alpha is gone afterwards."""
    seat = next(seat for seat in on(cluster, "beta") if seat["gitRepository"])
    cluster.api("POST", f"/api/projects/{seat['id']}/checkpoint")
    cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": "alpha"})
    (without,) = (other for other in on(cluster, "alpha") if other["id"] != seat["id"])
    assert len(cluster.api("GET", f"/api/projects/{seat['id']}/checkpoints")["checkpoints"]) == 1, "it followed"
    assert f"checkpoint:{seat['id']}" not in beta.run("docker", "images")
    password = ("-e", f"workspace_id={seat['id']}", "-e", f"workspace_password={PASSWORD}")
    cluster.run("play", "workspace_password", *password)
    cluster.in_seat(alpha, seat, f"echo '{MARK}' > /workspace/kept.txt; echo secret-canary > ~/.netrc")
    assert "warnings" not in cluster.api("POST", f"/api/projects/{seat['id']}/checkpoint")
    cluster.in_seat(alpha, seat, f"echo '{MARK}' > /workspace/lost.txt")
    config = cluster.in_seat(alpha, seat, "cat /etc/code-server/config.yaml")
    elsewhere = {"from": "checkpoint", "node": "beta"}
    status, answer = cluster.ask("localhost", f"/api/projects/{seat['id']}/move", "POST", elsewhere)
    assert (status, "alpha answers" in answer) == (400, True), answer
    assert "node_drain" in cluster.run("play", "node_remove", "-e", "node_name=alpha", fails=True)

    alpha.container.kill()
    eventually(lambda: cluster.nodes()["alpha"]["state"] != "ready", "the machine is known to be away", 60)
    begun = cluster.api("POST", f"/api/projects/{seat['id']}/move", elsewhere)
    assert (begun["origin"], begun["project"]["node"], begun["project"]["status"]) == ("checkpoint", "beta", "running")
    assert "is lost" in begun["lost"] and begun["checkpointTakenAt"] in begun["lost"]
    assert begun["project"]["workspaceUrl"] == seat["workspaceUrl"]
    assert begun["project"]["gitRepository"] == seat["gitRepository"]
    eventually(lambda: cluster.opens(seat), "its address opens it on the other machine", 20)
    assert cluster.in_seat(beta, seat, "cd /workspace; cat kept.txt; ls lost.txt 2>/dev/null; cat ~/.netrc") == MARK
    assert cluster.in_seat(beta, seat, "cat /etc/code-server/config.yaml") == config, "its password"
    assert "ahead" not in cluster.in_seat(beta, seat, PUSH)

    answer = cluster.run("play", "workspace_move", "-e", "move_from=checkpoint", "-e", "node_name=alpha", fails=True)
    assert "no checkpoint" in answer
    assert "-e force=true" in cluster.run("play", "node_remove", "-e", "node_name=alpha", fails=True)
    assert "Delete it from the inventory" in cluster.run(
        "play", "node_remove", "-e", "node_name=alpha", "-e", "force=true"
    )
    (shown,) = on(cluster, "alpha")
    assert (shown["id"], shown["status"], "was removed" in shown["error"]) == (without["id"], "error", True)
    cluster.run("play", "workspace_move", "-e", "move_from=checkpoint_or_base", "-e", "node_name=alpha")
    eventually(lambda: cluster.opens(without), "it is empty, but it opens", 20)
    cluster.machines.stop(alpha)
    assert "Done: 0 changed" in cluster.run("play", "node_remove", "-e", "node_name=alpha")

    cluster.api("DELETE", f"/api/projects/{seat['id']}", {"password": PASSWORD})
    assert cluster.stored("snapshot") == []
    assert not [name for name in cluster.stored("checkpoint") if seat["id"] in name]
    cluster.run("play", "reconcile", "-e", "repair=true")
    assert not (cluster.state / "registry-garbage").exists()
    assert "Done: 0 changed" in cluster.run("play", "reconcile", "-e", "repair=true")
