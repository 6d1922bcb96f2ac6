"""A seat on a node: every operation on it, what a program in it reaches, and where its secrets are. Afterwards the
installation has the seats that it had before."""

from __future__ import annotations

import re
import secrets
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from atelier.common.models import CONTROLLER, GIB
from backports import zstd

from tests.installed import front_door
from tests.planted_secrets import FILES, HOME, MARK, Watcher, archive, canary, files_below, holds
from tests.waiting import eventually

from .installation import INSTANCE, PORT, REGISTRY, WORLD, Cluster
from .machines import Machine

# The first test waits for the first `up`.
pytestmark = pytest.mark.timeout(2400)
NODES = (CONTROLLER, "alpha", "beta")
PASSWORD = canary("password")
# No secret: what must be found where secrets must not be.
PLAIN = f"plain-{secrets.token_hex(6)}"
ALIAS = "shown-to-all"


@contextmanager
def only(cluster: Cluster, *nodes: str) -> Iterator[None]:
    """Within the block new seats are made only on these machines: the others are paused."""
    others = [name for name in NODES if name not in nodes]
    for name in others:
        cluster.api("PUT", f"/api/nodes/{name}", {"availability": "paused"})
    try:
        yield
    finally:
        for name in others:
            cluster.api("PUT", f"/api/nodes/{name}", {"availability": "active"})


@contextmanager
def made_on(cluster: Cluster, node: str, name: str) -> Iterator[dict[str, Any]]:
    body = {"projectName": name, "projectType": "empty", "memoryLimit": "1g"}
    with only(cluster, node):
        made = cluster.api("POST", "/api/projects/create", body)["project"]
    yield made
    cluster.api("DELETE", path_of(made), {"password": PASSWORD})


@pytest.fixture(scope="module")
def ann(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """A seat on alpha, open to everybody."""
    with made_on(cluster, "alpha", "ann") as made:
        yield made


@pytest.fixture(scope="module")
def ben(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """The same on beta."""
    with made_on(cluster, "beta", "ben") as made:
        yield made


def path_of(seat: Mapping[str, Any]) -> str:
    return f"/api/projects/{seat['id']}"


def inspected(cluster: Cluster, seat: Mapping[str, Any], node: str, template: str) -> str:
    (container,) = cluster.containers(node, seat["id"])
    return cluster.at(node, "docker", "inspect", "--format", template, container)


def ended(cluster: Cluster, job: str) -> dict[str, Any]:
    """The job, which must have ended well."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = cluster.api("GET", f"/api/jobs/{job}")["job"]
        return found if found["state"] not in ("pending", "running") else None

    job_found = dict(eventually(look, f"the end of the job {job}", 300))
    assert job_found["state"] == "successful", job_found
    return job_found


def test_a_paused_machine_takes_no_new_seats(cluster: Cluster, ann: dict[str, Any], ben: dict[str, Any]) -> None:
    """Though it has most room; afterwards it takes them again."""
    assert [(seat["node"], seat["status"]) for seat in (ann, ben)] == [("alpha", "running"), ("beta", "running")]
    with only(cluster, "alpha"):
        paused = {name: (node["state"], node["availability"]) for name, node in cluster.nodes().items()}
        assert paused == {
            CONTROLLER: ("ready", "paused"),
            "alpha": ("ready", "active"),
            "beta": ("ready", "paused"),
        }
        eventually(lambda: cluster.opens(ben), "what it has goes on")
    nodes = cluster.nodes()
    assert {node["availability"] for node in nodes.values()} == {"active"}
    assert nodes["alpha"]["seats"] == nodes["beta"]["seats"] == nodes[CONTROLLER]["seats"] + 1


def test_each_machine_tells_how_it_is(cluster: Cluster) -> None:
    eventually(lambda: all(node["memoryUsed"] for node in cluster.nodes().values()), "the first samples")
    asked, nodes = datetime.now(UTC), cluster.nodes()
    assert nodes["alpha"]["address"] == cluster.machine("alpha").address
    for name, node in nodes.items():
        assert 10 * 1024**2 < node["memoryUsed"] < node["memoryPromised"] < node["memoryTotal"], name
        assert 0 < node["diskFree"] < node["diskTotal"], name
        assert node["engineVersion"] == cluster.at(name, "docker", "version", "--format", "{{.Server.Version}}")
        assert node["cpus"] == int(cluster.at(name, "nproc"))
        seen = datetime.fromisoformat(node["lastSeen"]) - asked
        assert abs(seen.total_seconds()) < 30, name


def test_an_up_without_the_inventory_is_refused(cluster: Cluster, ann: dict[str, Any]) -> None:
    """It would make an installation of one machine, whose gateway does not know the nodes' seats."""
    done = front_door("up", "-e", f"@{cluster.variables}")
    assert done.returncode != 0
    assert "the inventory does not name them: alpha, beta." in done.stdout
    assert cluster.api("GET", path_of(ann))["project"]["status"] == "running"


def test_every_operation_on_a_seat_of_a_node(cluster: Cluster, alpha: Machine, ann: dict[str, Any]) -> None:
    container = cluster.containers("alpha", ann["id"])[0]
    # Ports and aliases.
    alpha.run("docker", "exec", "--detach", container, "python3", "-m", "http.server", "--directory", "/etc", "3000")
    eventually(lambda: 3000 in cluster.api("GET", f"{path_of(ann)}/ports")["ports"], "the port is listed")
    cluster.api("POST", f"{path_of(ann)}/aliases", {"subdomain": ALIAS, "port": 3000})
    host = cluster.in_seat(alpha, ann, "cat /etc/hostname")
    for name in (f"{ann['id']}-3000", ALIAS):
        eventually(
            lambda name=name: (  # type: ignore[misc]
                cluster.ask(f"{name}.localhost", "/hostname") == (200, f"{host}\n")
            ),
            f"{name} answers",
        )

    # What it takes and may take.
    cluster.in_seat(alpha, ann, "head -c 3000000 /dev/urandom >/workspace/kept && echo before >/workspace/note")
    used = cluster.api("GET", f"{path_of(ann)}/disk-usage")["diskUsage"]
    assert 3_000_000 < used["bytes"] < used["totalBytes"]
    limits = ("-e", f"workspace_id={ann['id']}", "-e", "workspace_memory=2g", "-e", "workspace_cpus=1")
    cluster.run("play", "workspace_create", *limits)
    assert (
        inspected(cluster, ann, "alpha", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}") == f"{2 * GIB} 1000000000"
    )
    project = cluster.api("GET", path_of(ann))["project"]
    assert (project["memoryLimit"], project["cpuCores"], project["node"]) == ("2g", "1", "alpha")

    # A checkpoint, and back to it.
    cluster.api("POST", f"{path_of(ann)}/checkpoint")
    cluster.in_seat(alpha, ann, "echo after >/workspace/note && touch /workspace/new")
    cluster.api("POST", f"{path_of(ann)}/reset")
    assert cluster.in_seat(alpha, ann, "cd /workspace && cat note; ls kept new 2>/dev/null || true") == "before\nkept"
    assert inspected(cluster, ann, "alpha", "{{.HostConfig.Memory}}") == str(2 * GIB)
    eventually(lambda: cluster.opens(ann), "its address opens it")
    assert [alias["subdomain"] for alias in cluster.api("GET", path_of(ann))["project"]["aliases"]] == [ALIAS]


def test_a_rehearsal_is_on_all_machines(cluster: Cluster, ann: dict[str, Any]) -> None:
    job = cluster.api("POST", "/api/workshop/rehearse", {"seats": 3, "projectId": ann["id"]})["jobId"]

    def places() -> set[str]:
        with closing(sqlite3.connect(cluster.state / "registry.sqlite3", timeout=30)) as db:
            rows = db.execute("SELECT node FROM workspaces WHERE group_name = '~rehearsal' AND status = 'running'")
            return {node for (node,) in rows}

    eventually(lambda: places() == set(NODES), "there are seats on all machines", 300)
    ended(cluster, job)
    verdict = cluster.api("GET", "/api/workshop/rehearse")["verdict"]
    assert verdict["seats"] == 3 and verdict["p50"] > 0 and verdict["firstLimit"]["seats"] > 3
    # A busy machine may be slow, and then it is a no-go.
    assert {reason["id"] for reason in verdict.get("codes", {}).get("reasons", [])} <= {"slow"}, verdict
    assert not places()


def test_a_seat_of_a_node_is_claimed_and_released(cluster: Cluster) -> None:
    for number in range(3):  # of five seats one or two are on the controller
        person = {"name": f"Person {number}", "email": f"person-{number}@example.org"}
        url = cluster.api("POST", "/api/workshop/claim", person)["workspaceUrl"]
        seat = next(seat for seat in cluster.seats() if seat["workspaceUrl"] == url)
        if seat["node"] != CONTROLLER:
            break
    machine = cluster.machine(seat["node"])
    cluster.in_seat(machine, seat, "touch /workspace/kept-at-release")
    (container,) = cluster.containers(machine.name, seat["id"])
    machine.run("docker", "exec", "--detach", container, "sleep", "1234")
    released = cluster.api("POST", f"/api/workshop/claims/{seat['id']}/release")
    assert (released["released"]["email"], released["sessions"], released["files"]) == (
        person["email"],
        "ended",
        "kept",
    )
    assert seat["id"] not in {claim["projectId"] for claim in cluster.api("GET", "/api/workshop/claims")["claims"]}
    assert cluster.in_seat(machine, seat, "cat /proc/*/cmdline 2>/dev/null | grep -ac 'slee[p]' || true") == "0"
    cluster.in_seat(machine, seat, "rm /workspace/kept-at-release")
    eventually(lambda: cluster.opens(seat), "its address opens it")
    assert next(row for row in cluster.seats() if row["id"] == seat["id"])["node"] == machine.name


# --- What a program in the seat reaches -------------------------------------------------------------------------------


def reached(run: Any, targets: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """The addresses and ports that accept a connection from ``run``, which executes a shell script."""
    knocks = "\n".join(
        f"(timeout 3 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo {address} {port}) &"
        for address, port in targets
    )
    lines = run(f"{knocks}\nwait").splitlines()
    return {(address, int(port)) for address, port in (line.split() for line in lines)}


@pytest.mark.usefixtures("world")
def test_a_seat_reaches_no_machine_and_no_other_seat(
    cluster: Cluster, alpha: Machine, beta: Machine, ann: dict[str, Any], ben: dict[str, Any]
) -> None:
    """Each port is open for somebody else: alone the firewall closes it."""
    controller = cluster.machines.controller_address
    address_of = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"
    neighbour = next(seat for seat in cluster.seats() if seat["node"] == "alpha" and seat["id"] != ann["id"])
    beside, bridge = inspected(cluster, neighbour, "alpha", address_of).split()
    on_beta, _ = inspected(cluster, ben, "beta", address_of).split()
    of_a_node = (22, 2376, 7443, 7946)
    # Address, port, and the machine from which it is open.
    targets = [
        (beside, 8082, "alpha"),
        (on_beta, 8082, "beta"),
        *((bridge, port, "alpha") for port in of_a_node),
        *((alpha.address, port, CONTROLLER) for port in of_a_node),
        *((beta.address, port, CONTROLLER) for port in of_a_node),
        *((beta.address, port, "alpha") for port in of_a_node),
        # Swarm, the image registry, git for nodes.
        *((controller, port, "alpha") for port in (2377, 7946, REGISTRY, 18176)),
    ]
    for node in NODES:
        wanted = {(address, port) for address, port, place in targets if place == node}
        run = partial(cluster.at, node, "bash", "-c")
        eventually(lambda run=run, wanted=wanted: reached(run, wanted) == wanted, f"open from {node}: {wanted}")  # type: ignore[misc]

    # The machines' network is open to it, but for the machines; of those it reaches the gateway.
    beyond = {(WORLD, 80), (controller, PORT)}
    everything = {(address, port) for address, port, _ in targets} | beyond
    run = partial(cluster.in_seat, alpha, ann)
    assert reached(run, everything) <= beyond
    eventually(lambda: reached(run, beyond) == beyond, "the seat reaches what is open to it")
    # There it is nobody: neither the API and git, nor other seats.
    assert cluster.ask("localhost", "/api/projects")[0] == 200
    for host, path in (
        ("localhost", "/api/projects"),
        ("localhost", "/"),
        ("localhost", "/git/developer/workshop.git/info/refs"),
        (f"{ben['id']}.localhost", "/"),
        (f"{neighbour['id']}.localhost", "/"),
    ):
        ask = (
            f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' -H 'Host: {host}:{PORT}' http://{controller}:{PORT}{path}"
        )
        assert cluster.in_seat(alpha, ann, ask) == "403", (host, path)


# --- Where its secrets are --------------------------------------------------------------------------------------------


def output(cluster: Cluster, node: str, script: str) -> bytes:
    """The standard output of a shell script on that machine; its exit code is ignored."""
    if node != CONTROLLER:
        return b"".join(cluster.machine(node).container.exec_run(["sh", "-c", script], stream=True).output)
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False).stdout


def unpacked(blob: Path) -> Iterator[bytes]:
    """The content of an image registry's blob: a layer, or a document."""
    with blob.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        gunzip = zlib.decompressobj(wbits=31) if start[:2] == b"\x1f\x8b" else None
        source = zstd.open(file) if start == b"\x28\xb5\x2f\xfd" else file
        while chunk := source.read(1 << 20):
            yield gunzip.decompress(chunk) if gunzip else chunk


def places_of(cluster: Cluster, words: Iterable[str], since: float) -> set[tuple[str, str]]:
    """The places that hold the words, by machine: Docker's answers, logs, files written since then, and the image
    registry."""
    scripts = {
        "inspect": "docker ps -aq | xargs -r docker inspect; docker image ls -aq | xargs -r docker image inspect",
        "logs": f"for i in $(docker ps -aq -f label=atelier.instance={INSTANCE}); do docker logs $i 2>&1; done",
    }
    files = f"find /var/log {cluster.state} -type f -newermt @{since:.0f} -exec cat {{}} +"
    words, found = list(words), set[tuple[str, str]]()
    for node in NODES:
        contents = {name: [output(cluster, node, script)] for name, script in scripts.items()}
        contents["files"] = (
            [output(cluster, node, files)]
            if node != CONTROLLER
            else [*files_below(Path("/var/log"), since), *files_below(cluster.state, since)]
        )
        found |= {(node, name) for name, content in contents.items() if holds(content, words)}
    blobs = [path for path in (cluster.state / "image-registry").rglob("blobs/**/data") if path.stat().st_mtime > since]
    assert blobs
    found |= {(CONTROLLER, "image registry") for blob in blobs if holds(unpacked(blob), words)}
    return found


@pytest.fixture
def planted(cluster: Cluster, alpha: Machine, ann: dict[str, Any]) -> Iterator[None]:
    """A secret in every known place of the seat, and what is no secret where a secret might be found."""
    (container,) = cluster.containers("alpha", ann["id"])
    copy = ["docker", "exec", "-i", str(alpha.container.name), "docker", "cp", "-", f"{container}:/"]
    subprocess.run(copy, input=archive(), check=True)
    cluster.in_seat(alpha, ann, f"echo {PLAIN} >/workspace/plain.txt")
    image = inspected(cluster, ann, "alpha", "{{.Image}}")
    alpha.run("docker", "create", "--name", "planted", "--env", f"NOTE={PLAIN}", image)
    alpha.run("sh", "-c", f"echo {PLAIN} >/var/log/planted")
    yield
    alpha.run("docker", "rm", "planted")
    alpha.run("rm", "/var/log/planted")


@pytest.mark.usefixtures("planted")
def test_no_secret_of_a_seat_is_anywhere_on_the_machines(
    cluster: Cluster, alpha: Machine, beta: Machine, ann: dict[str, Any]
) -> None:
    began = time.time() - 1
    watcher = Watcher([MARK, "$argon2id$", PLAIN])
    watcher.start()
    # The machines' processes are this host's, too.
    (container,) = cluster.containers("alpha", ann["id"])
    alpha.run("docker", "exec", "--detach", "--env", f"NOTE={PLAIN}", container, "sleep", "150")
    eventually(lambda: any(PLAIN in found and "environ" in found for found in watcher.found), "it is seen")
    cluster.ask(f"{ann['id']}.localhost", f"/{PLAIN}")

    cluster.api("PUT", f"{path_of(ann)}/password", {"newPassword": PASSWORD})
    with only(cluster, "alpha", "beta"):
        begun = cluster.api("POST", f"{path_of(ann)}/clone", {"count": 2, "password": f"{PASSWORD}-2"})
        ended(cluster, begun["jobId"])
    clones = [seat for seat in cluster.seats() if seat["clonedFrom"] == ann["id"]]
    assert {seat["node"] for seat in clones} == {"alpha", "beta"}
    cluster.api("POST", f"{path_of(ann)}/checkpoint")
    cluster.api("POST", f"{path_of(ann)}/move", {"node": "beta"})
    watcher.stop()
    assert watcher.rounds > 3
    assert {found for found in watcher.found if PLAIN not in found} == set()

    # The secrets went with the seat, and not with its clones.
    own = FILES[f"{HOME}/.git-credentials"][0].strip()
    assert cluster.in_seat(beta, ann, "cat ~/.git-credentials; cat /workspace/plain.txt").splitlines() == [own, PLAIN]
    for seat in clones:
        machine = cluster.machine(seat["node"])
        search = "find /home /workspace /etc /tmp -type f -exec cat {} + 2>/dev/null | grep -ac 'canar[y]-' || true"
        assert cluster.in_seat(machine, seat, search) == "0"

    assert places_of(cluster, [PLAIN], began) >= {
        ("alpha", "inspect"),
        ("alpha", "logs"),
        ("alpha", "files"),
        (CONTROLLER, "logs"),
        (CONTROLLER, "image registry"),
    }
    with closing(sqlite3.connect(cluster.state / "registry.sqlite3", timeout=30)) as db:
        hashes = {hash for (hash,) in db.execute("SELECT password_hash FROM workspaces WHERE password_hash NOT NULL")}
    assert places_of(cluster, [MARK], began) == set()
    assert places_of(cluster, hashes, began) <= {(CONTROLLER, "files")}, "in the database only"
    for kind in ("config", "secret"):
        assert cluster.at(CONTROLLER, "docker", kind, "ls", "--quiet") == ""

    for seat in clones:
        cluster.api("DELETE", path_of(seat), {"password": f"{PASSWORD}-2"})


def test_a_container_that_somebody_removed_is_reported_and_made_again(
    cluster: Cluster, beta: Machine, ben: dict[str, Any]
) -> None:
    (container,) = cluster.containers("beta", ben["id"])
    # While nobody watches: the API would note it at once.
    api = cluster.client.containers.get(f"{INSTANCE}-api")
    api.stop()
    try:
        beta.run("docker", "rm", "--force", container)
        answer = cluster.run("play", "reconcile", "-e", "repair=true")
    finally:
        api.start()
    assert re.search(r"missing_container: The container of 'ben' is gone\. Repaired: ", answer), answer
    eventually(cluster.is_up, "the API is back", 120)
    project = cluster.api("GET", path_of(ben))["project"]
    assert (project["status"], project["node"]) == ("error", "beta")
    started = cluster.api("POST", f"{path_of(ben)}/start")["project"]
    assert (started["status"], started["node"], started["workspaceUrl"]) == ("running", "beta", ben["workspaceUrl"])
    eventually(lambda: cluster.opens(ben), "its address opens it")
