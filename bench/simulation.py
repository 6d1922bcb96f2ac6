"""An installation of 50 machines and 5,000 workspaces, held against the code: ``python -m bench simulation``.

The engines are those of ``simulated_engine``. The figures are for docs/cluster.md.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from atelier.common.locks import Locks
from atelier.common.models import Network, Node, ProxyMode, Quotas, Site, Status, Workspace
from atelier.containers.container_names import with_names
from atelier.containers.context import open_context
from atelier.database.placement import Machine
from atelier.database.workspace_store import WorkspaceStore, new_id
from atelier.reconcile import find_drift

from api.monitoring.docker_events import Watcher

from .api import Api, api_settings, ask, herds, serve
from .host import INSTANCE
from .report import Report, p95
from .simulated_engine import MEMORY, PLAN, install

_MACHINES = 50
_ROWS = 5000
_MORE = 500
_SUBNET = "172.16.0.0/16"
_PATIENCE_SECONDS = 120
_QUOTA = 100_000
_CROWD, _HERDS = 50, 6


def simulate(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = _site(Path(folder))
        _reserve(report, site)
        _watch(report, site)
        _reconcile(report, site)
        _ask_the_api(report, site)


def _site(state: Path) -> Site:
    """With rows, and with a plan of the containers that the engines have of them."""
    site = Site(
        instance=INSTANCE,
        state_dir=state,
        engine_url="unix:///nowhere",
        image_prefix="bench",
        domain="localhost",
        port=80,
        protocol="http",
        networks={ProxyMode.NONE: Network(f"{INSTANCE}-open", IPv4Network(_SUBNET))},
        quotas=Quotas(_QUOTA, _QUOTA, True, 8, 16384),
        nodes=tuple(Node(f"node{number:02}", "unix:///nowhere") for number in range(1, _MACHINES)),
        image_registry="127.0.0.1:1",
    )
    site = with_names(site, None, Locks(state), 1)
    machines = _machines(site)
    plan: dict[str, list[tuple[str, str]]] = {name: [] for name in site.node_names}
    with _open(site) as store:
        orders = [Workspace(new_id(), f"Workshop {number}", "empty") for number in range(_ROWS)]
        rows = store.reserve(orders, machines)
        with store.transaction():
            for row in rows:
                store.update(row.id, status=Status.RUNNING)
                plan[row.node].append((row.id, site.container_name(row.id)))
    file = state / "plan.json"
    file.write_text(json.dumps(plan))
    os.environ[PLAN] = str(file)
    install()
    return site


def _open(site: Site) -> WorkspaceStore:
    return WorkspaceStore(site.state_dir, site.networks, site.quotas)


def _machines(site: Site) -> list[Machine]:
    return [Machine(name, MEMORY) for name in site.node_names]


def _reserve(report: Report, site: Site) -> None:
    machines, times = _machines(site), []
    with _open(site) as store:
        source = store.all()[0]
        for _ in range(5):
            begin = time.perf_counter()
            made = store.reserve_clones(source, None, [None] * _MORE, "default", machines=machines)
            times.append((time.perf_counter() - begin) * 1000)
            with store.transaction():
                for row in made:
                    store.delete(row.id)
    took = statistics.median(times)
    report.add(f"reserve {_MORE} beside {_ROWS}", f"{took:.0f} ms", "-", "at most 200 ms", took <= 200)


def _watch(report: Report, site: Site) -> None:
    """Until the states of all containers are known, and what they take in memory."""
    with _open(site) as store:
        gc.collect()
        tracemalloc.start()
        watcher = Watcher(site, store, Locks(site.state_dir))
        watcher.start()
        _until(lambda: len(watcher.answering) == _MACHINES)
        gc.collect()
        mebibytes = tracemalloc.get_traced_memory()[0] / 1024**2
        tracemalloc.stop()
        watcher.stop()
        begin = time.perf_counter()
        watcher = Watcher(site, store, Locks(site.state_dir))
        watcher.start()
        _until(lambda: len(watcher.answering) == _MACHINES)
        seconds = time.perf_counter() - begin
        assert len(watcher.seen) == _ROWS
        watcher.stop()
    report.add(f"states of {_ROWS} containers, first look", f"{seconds:.1f} s", "-", "at most 30 s", seconds <= 30)
    report.add("memory of the watcher", f"{mebibytes:.0f} MiB", "-", "at most 50 MiB", mebibytes <= 50)


def _reconcile(report: Report, site: Site) -> None:
    with open_context(site, ready_timeout=1, progress=lambda *_: None) as context:
        context.sync_routes()
        begin = time.perf_counter()
        drift = find_drift(context)
        seconds = time.perf_counter() - begin
    kinds = sorted({str(found.kind) for found in drift})
    what = f"reconcile's look at {_ROWS} ({len(drift)} differences: {', '.join(kinds) or '-'})"
    report.add(what, f"{seconds:.1f} s", "-", "at most 30 s", seconds <= 30)


def _ask_the_api(report: Report, site: Site) -> None:
    nodes = [{"name": node.name, "engine_url": node.engine_url} for node in site.nodes]
    more: dict[str, Any] = {
        "networks": {"none": {"name": f"{INSTANCE}-open", "subnet": _SUBNET}},
        "max_workspaces_per_user": _QUOTA,
        "max_concurrent_workspaces": _QUOTA,
        "engine_url": site.engine_url,
        "nodes": nodes,
        "image_registry": site.image_registry,
        "seat_disk": 20 * 1024**3,
    }
    state = site.state_dir
    with serve(api_settings(state, state, "Workshop", **more), state, "bench.simulated_api:create_app") as api:
        _until(lambda: all(node["state"] == "ready" for node in api.client.get("/api/nodes").json()["nodes"]))
        _until(lambda: _statuses(api) == {"running"})
        time.sleep(15)  # its first samples
        _lists(report, api)
        one = p95(herds(1, 100, first=1000))
        report.add("claim, one after the other, p95", f"{one:.0f} ms", "-", "under 50 ms", one < 50)
        claims = p95(herds(_CROWD, _HERDS))
        report.add(f"claim, {_CROWD} at once, p95", f"{claims:.0f} ms", "-", "at most 50 ms", claims <= 50)
        machines = statistics.median(ask(api.client, "/api/nodes", 20))
        report.add(f"list {_MACHINES} machines, p50", f"{machines:.0f} ms", "-", "at most 100 ms", machines <= 100)
        before, begin = api.cpu_seconds(), time.monotonic()
        time.sleep(30)
        share = (api.cpu_seconds() - before) / (time.monotonic() - begin)
        report.add("the API's share of a core while nobody asks", f"{share * 100:.0f} %", "-", "-", True)
        memory = api.memory_mib()
        report.add("memory of the API", f"{memory:.0f} MiB", "-", "under 400 MiB", memory < 400)


def _statuses(api: Api) -> set[str]:
    return {project["status"] for project in api.client.get("/api/projects/").json()["projects"]}


def _lists(report: Report, api: Api) -> None:
    found = api.client.get("/api/projects/").json()
    assert found["count"] == _ROWS, found["count"]
    times = ask(api.client, "/api/projects/", 200)
    p50 = statistics.median(times)
    what = f"list {_ROWS} ({len(api.client.get('/api/projects/').content) / 1e6:.1f} MB)"
    report.add(f"{what}, p50", f"{p50:.1f} ms", "-", "under 10 ms", p50 < 10)
    report.add(f"{what}, p95", f"{p95(times):.1f} ms", "-", "-", True)
    changed = []
    for number in range(20):
        notes = f"/api/projects/{found['projects'][number]['id']}/notes"
        assert api.client.put(notes, json={"notes": str(number)}).status_code == 200
        changed += ask(api.client, "/api/projects/", 1)
    report.add(f"{what}, right after a change", f"{statistics.median(changed):.0f} ms", "-", "-", True)
    name = "node07"
    p50 = statistics.median(ask(api.client, f"/api/projects/?node={name}", 100))
    report.add("list one machine's, p50", f"{p50:.1f} ms", "-", "under 50 ms", p50 < 50)


def _until(holds: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the simulation did not come up")
        time.sleep(0.02)
