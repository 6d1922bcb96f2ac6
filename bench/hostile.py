"""The time of the list of seats while some of them attack."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import docker
import httpx

from .host import INSTANCE
from .report import Report

ADMIN_PASSWORD = "bench-bench-bench"  # noqa: S105 - of an installation that is gone after the bench
_HOSTILE = 5
_LOOKS = 6
# What the API knows of a seat is that old at most, so each look asks all of them.
_APART_SECONDS = 15.5
_AT_ONCE = 16
_GOAL_SECONDS = 3.0
# In place of the IDE something drips; what the platform runs is stopped, or flooded with output.
_WORST = """
import os, signal, socket, threading, time
def drip(connection):
    with connection:
        connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        while True:
            time.sleep(1)
            connection.sendall(b" ")
def serve():
    while True:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("", 8082))
            except OSError:
                for pid in found(b"workspace-ide.js", "cmdline"):
                    os.kill(pid, signal.SIGKILL)
                continue
            server.listen(50)
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()
def found(word, file):
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if pid != os.getpid() and word in open(f"/proc/{pid}/{file}", "rb").read():
                yield pid
        except OSError:
            pass
def flood(pid):
    with open(f"/proc/{pid}/fd/1", "wb", 0) as output:
        while True:
            output.write(b"0" * 65536)
threading.Thread(target=serve, daemon=True).start()
while True:
    for pid in found(b"ATELIER_RUN=", "environ"):
        if NUMBER % 2:
            os.kill(pid, signal.SIGSTOP)
        else:
            threading.Thread(target=flood, args=(pid,), daemon=True).start()
    time.sleep(0.01)
"""


def measure_hostile(report: Report, client: httpx.Client, ids: Sequence[str]) -> None:
    """``ids`` are the running seats of the workshop. Some of them stay hostile."""
    api = docker.APIClient(version="auto", timeout=60)
    raw = _baseline(api, ids)
    for number, id in enumerate(ids[:_HOSTILE]):
        script = _WORST.replace("NUMBER", str(number))
        job = api.exec_create(_container(api, id)["Id"], ["python3", "-c", script])
        api.exec_start(job["Id"], detach=True)
    times: list[float] = []
    wrong = 0
    for look in range(_LOOKS + 1):
        time.sleep(_APART_SECONDS)
        begin = time.monotonic()
        seats = client.get("/api/workshop/seats", headers={"X-Admin-Password": ADMIN_PASSWORD}).json()["seats"]
        if look == 0:
            continue  # the first one opens the connection to Docker
        times.append(time.monotonic() - begin)
        known = {seat["projectId"] for seat in seats if seat["lastCommit"] and seat["status"] == "running"}
        wrong += len(set(ids[_HOSTILE:]) - known)
    slowest = max(times)  # of so few, what is slower than 95 % of them
    report.add(
        f"API: list {len(ids)} seats, {_HOSTILE} of them hostile, p95",
        f"{slowest:.2f} s, {wrong} wrong",
        f"{raw:.2f} s (none hostile)",
        f"at most {_GOAL_SECONDS:g} s, the others right",
        slowest <= _GOAL_SECONDS and not wrong,
    )


def _container(api: docker.APIClient, id: str) -> dict[str, Any]:
    (found,) = api.containers(filters={"label": [f"atelier.workspace={id}", f"atelier.instance={INSTANCE}"]})
    return dict(found)


def _baseline(api: docker.APIClient, ids: Sequence[str]) -> float:
    """Seconds to ask each seat's IDE and git straight, as many at once as the API does."""

    def ask(id: str) -> None:
        container = _container(api, id)
        (network,) = container["NetworkSettings"]["Networks"].values()
        connection = http.client.HTTPConnection(network["IPAddress"], 8082, timeout=10)
        with suppress(OSError):
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        connection.close()
        job = api.exec_create(container["Id"], ["git", "-C", "/workspace", "log", "-1", "--format=%ct"])
        api.exec_start(job["Id"])

    begin = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(ask, ids))
    return time.monotonic() - begin
