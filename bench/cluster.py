"""Seats on several machines, which are containers of this one: ``python -m bench cluster``. For docs/cluster.md.

Both nodes and the controller share the cores, so twenty seats over two nodes can't be quicker than on one.
"""

from __future__ import annotations

import http.client
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
from atelier.containers.container import is_healthy
from atelier.containers.seat_http import SeatRoute
from atelier.engine.connections import ClientCertificate

from tests.cluster.installation import INSTANCE, PORT, Cluster, three_machines
from tests.waiting import eventually

from .baseline import open_to_all
from .report import Report

SEATS = 20
MIB = 1024**2
_NODES = ("alpha", "beta")
# As many at once as Atelier has on two machines.
_WORKERS = 12
_REQUESTS = 500
_LABELS = {"alpha": {"one": "true", "two": "true"}, "beta": {"two": "true"}}


def measure_cluster(report: Report, rounds: int) -> None:
    settings = {
        "atelier_enable_proxy": False,
        "atelier_enable_git_server": False,
        "workshop_git_repo": False,
        "workshop_seats": 0,
        "workshop_nodes": ["two=true"],
    }
    with tempfile.TemporaryDirectory() as folder, three_machines(Path(folder), _LABELS, **settings) as cluster:
        (base,) = cluster.seats()
        assert base["node"] == "alpha"
        # So that both nodes have the template.
        other = cluster.api("POST", "/api/projects/create", {"projectName": "other", "projectType": "empty"})["project"]
        if other["node"] != "beta":
            cluster.api("POST", f"/api/projects/{other['id']}/move", {"node": "beta"})
        _write(cluster, base, 20)
        raw = Raw(cluster)
        _clone(report, cluster, base, raw, rounds)
        _page(report, cluster, base)
        _move(report, cluster, base, rounds)
        _dead(report, cluster)


def _write(cluster: Cluster, seat: dict[str, Any], mebibytes: int) -> None:
    """Writes into the seat what nothing can compress."""
    node = cluster.api("GET", f"/api/projects/{seat['id']}")["project"]["node"]
    fill = f"head -c {mebibytes * MIB} /dev/urandom >/workspace/weight-{time.time_ns()}"
    (container,) = cluster.containers(node, seat["id"])
    cluster.at(node, "docker", "exec", container, "sh", "-c", fill)


class Raw:
    """The nodes' engines, asked directly for the same containers."""

    def __init__(self, cluster: Cluster) -> None:
        pki = cluster.state / "pki"
        engine, gateway = ClientCertificate.of(pki, "engine-client"), ClientCertificate.of(pki, "gateway-client").tls()
        self._apis: dict[str, docker.APIClient] = {}
        self._routes: dict[str, SeatRoute] = {}
        for machine in cluster.machines.all:
            tls = docker.tls.TLSConfig(
                client_cert=(str(engine.certificate), str(engine.key)), ca_cert=str(engine.authority), verify=True
            )
            url = f"https://{machine.address}:2376"
            api = docker.APIClient(base_url=url, version="1.44", timeout=300, tls=tls)
            api.trust_env = False
            self._apis[machine.name] = api
            self._routes[machine.name] = SeatRoute(machine.name, (machine.address, 7443), gateway)
        self._image = next(
            tag
            for image in self._apis["beta"].images()
            for tag in image["RepoTags"] or ()
            if tag.endswith("/workspace:empty")
        )

    def seats(self, nodes: Sequence[str]) -> float:
        """Seconds until that many seats answer through the nodes' gateways. They are removed again."""
        places = [nodes[number % len(nodes)] for number in range(SEATS)]
        begin = time.monotonic()
        with ThreadPoolExecutor(_WORKERS) as pool:
            made = list(pool.map(self._start, places))
        seconds = time.monotonic() - begin
        for place, id in zip(places, made, strict=True):
            self._apis[place].remove_container(id, force=True, v=True)
        return seconds

    def _start(self, node: str) -> str:
        api = self._apis[node]
        host_config = api.create_host_config(network_mode=f"{INSTANCE}-open", mem_limit="1g", nano_cpus=int(2e9))
        id = str(api.create_container(self._image, host_config=host_config)["Id"])
        api.put_archive(id, "/etc/code-server", open_to_all())
        api.start(id)
        address = api.inspect_container(id)["NetworkSettings"]["Networks"][f"{INSTANCE}-open"]["IPAddress"]
        while not is_healthy(address, self._routes[node]):
            time.sleep(0.05)
        return id


def _clone(report: Report, cluster: Cluster, base: dict[str, Any], raw: Raw, rounds: int) -> None:
    """The clone's seconds begin with the start of its playbook."""
    raws: dict[int, list[float]] = {1: [], 2: []}
    ours: dict[int, list[float]] = {1: [], 2: []}
    # The first clone on a machine also brings it the base's layers.
    _cloned(cluster, base, "two=true")
    for _ in range(rounds):
        for count, label in ((1, "one=true"), (2, "two=true")):
            raws[count].append(raw.seats(_NODES[:count]))
            ours[count].append(_cloned(cluster, base, label))
    one, two = statistics.median(ours[1]), statistics.median(ours[2])
    raw_one, raw_two = statistics.median(raws[1]), statistics.median(raws[2])
    goal = raw_two + 6
    report.add(
        f"clone {SEATS} seats over two nodes, with a snapshot of 20 MB",
        f"{two:.2f} s",
        f"{raw_two:.2f} s",
        f"baseline + 6 s = {goal:.2f} s",
        two <= goal,
    )
    report.add(
        f"the same {SEATS} on one node",
        f"{one:.2f} s",
        f"{raw_one:.2f} s",
        f"two nodes at most 1.3 x: {two / one:.2f} x",
        two <= one * 1.3,
    )


def _cloned(cluster: Cluster, base: dict[str, Any], label: str) -> float:
    """The seconds of one clone, whose seats are removed again."""
    wanted = ("clone_count", str(SEATS)), ("clone_source_id", base["id"]), ("clone_nodes", label)
    begin = time.monotonic()
    cluster.run("play", "workspace_clone", *(word for name, value in wanted for word in ("-e", f"{name}={value}")))
    seconds = time.monotonic() - begin
    seats = [seat for seat in cluster.seats() if seat["name"].startswith(f"{base['name']} ")]
    assert [seat["status"] for seat in seats] == ["running"] * SEATS
    assert {seat["node"] for seat in seats} == ({"alpha"} if label == "one=true" else set(_NODES))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seat: cluster.api("DELETE", f"/api/projects/{seat['id']}"), seats))
    return seconds


def _page(report: Report, cluster: Cluster, base: dict[str, Any]) -> None:
    """A seat's page on an open connection, of one on the controller and of one on a node by turns."""
    here = cluster.api("POST", "/api/projects/create", {"projectName": "here", "projectType": "empty"})["project"]
    if here["node"] != "controller":
        cluster.api("POST", f"/api/projects/{here['id']}/move", {"node": "controller"})
    eventually(lambda: cluster.opens(here) and cluster.opens(base), "both open", 30)

    def took(connection: http.client.HTTPConnection, seat: dict[str, Any]) -> float:
        begin = time.perf_counter()
        connection.request("GET", "/healthz", headers={"Host": f"{seat['id']}.localhost:{PORT}"})
        assert connection.getresponse().read()
        return (time.perf_counter() - begin) * 1000

    one, two = (http.client.HTTPConnection("127.0.0.1", PORT, timeout=20) for _ in range(2))
    with closing(one), closing(two):
        times = [(took(one, here), took(two, base)) for _ in range(_REQUESTS)]
    near, far = (statistics.median(column) for column in zip(*times, strict=True))
    report.add(
        "a seat's answer through two gateways, p50",
        f"{far:.2f} ms",
        f"{near:.2f} ms (one gateway)",
        "at most 1 ms more",
        far - near <= 1,
    )


def _move(report: Report, cluster: Cluster, seat: dict[str, Any], rounds: int) -> None:
    _write(cluster, seat, 30)  # beside the 20 that it has
    times = []
    for number in range(rounds):
        begin = time.monotonic()
        cluster.api("POST", f"/api/projects/{seat['id']}/move", {"node": _NODES[(number + 1) % 2]})
        times.append(time.monotonic() - begin)
    seconds = statistics.median(times)
    report.add("move a seat with 50 MB of changes", f"{seconds:.1f} s", "-", "at most 8 s", seconds <= 8)


def _dead(report: Report, cluster: Cluster) -> None:
    """Measures how long a browser waits for the page about a machine that hangs: the longest wait, from the hang on."""
    seat = next(seat for seat in cluster.seats() if seat["node"] == "beta")
    waits: list[float] = []

    def asked() -> bool:
        begin = time.monotonic()
        status, page = cluster.ask(f"{seat['id']}.localhost", "/")
        waits.append(time.monotonic() - begin)
        return status == 503 and "does not answer" in page

    _until_known(cluster, asked)
    report.add("page of a machine that hangs", f"{max(waits):.1f} s at most", "-", "within 5 s", max(waits) <= 5)


def _until_known(cluster: Cluster, asked: Callable[[], bool]) -> None:
    machine = cluster.machine("beta").container
    machine.pause()
    try:
        assert asked(), "the first one who asks has the page"
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            assert asked()
            time.sleep(0.1)
    finally:
        machine.unpause()
