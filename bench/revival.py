"""The time after a crash of dockerd until all workspaces answer, in the bench's own dockerd."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker
import httpx

from tests.chaos.machine import INSTANCE, PORT, Machine, machine
from tests.module.installation import Installation, is_healthy
from tests.waiting import eventually

from .baseline import open_to_all
from .host import IMAGE
from .report import Report

SEATS = 20
_GOAL = 30.0


def measure_revival(report: Report) -> None:
    for made, installation in machine():
        raw = _baseline(made)
        own = _ours(made, installation)
    what = f"dockerd was killed: from its return to the last of {SEATS} seats"
    report.add(what, f"{own:.1f} s", f"{raw:.1f} s", f"at most {_GOAL:g} s", own <= _GOAL)


def _baseline(made: Machine) -> float:
    """The same containers, which Docker itself starts again: their restart policy is ``always``."""
    api = made.client().api
    ids: list[str] = []
    for _ in range(SEATS):
        host_config = api.create_host_config(
            network_mode=f"{INSTANCE}-open", mem_limit="2g", restart_policy={"Name": "always"}
        )
        ids.append(api.create_container(IMAGE, host_config=host_config)["Id"])
        api.put_archive(ids[-1], "/etc/code-server", open_to_all())
        api.start(ids[-1])
    _await(lambda: [_address(api, id) for id in ids])
    seconds = _crash(made, lambda: _await(lambda: [_address(api, id) for id in ids]))
    for id in ids:
        api.remove_container(id, force=True, v=True)
    return seconds


def _ours(made: Machine, installation: Installation) -> float:
    client = httpx.Client(base_url=f"http://localhost:{PORT}", timeout=120)
    answer = client.post("/api/projects/create", json={"projectName": "crashed", "projectType": "empty"})
    answer.raise_for_status()
    base = answer.json()["project"]["id"]
    client.post(f"/api/projects/{base}/clone", json={"count": SEATS - 1}).raise_for_status()

    def all_run() -> bool:
        return [row["status"] for row in installation.rows()] == ["running"] * SEATS

    eventually(all_run, "the seats are made")
    return _crash(made, lambda: _await(lambda: [row["address"] for row in installation.rows()]))


def _crash(made: Machine, until: Callable[[], None]) -> float:
    os.kill(made.dockerd(), signal.SIGKILL)
    eventually(lambda: not made.answers(), "dockerd is gone")
    eventually(made.answers, "dockerd is back")
    begin = time.monotonic()
    until()
    return time.monotonic() - begin


def _await(addresses: Callable[[], list[str]]) -> None:
    def all_answer() -> bool:
        known = addresses()
        with ThreadPoolExecutor(SEATS) as pool:
            return all(known) and all(pool.map(is_healthy, known))

    eventually(all_answer, "all seats answer")


def _address(api: docker.APIClient, container: str) -> str:
    networks = api.inspect_container(container)["NetworkSettings"]["Networks"]
    return str(networks[f"{INSTANCE}-open"]["IPAddress"])
