"""The time of a visit to a sleeping seat until the IDE's page is shown, alone and with forty others."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import docker
import httpx

from tests.waiting import eventually

from .baseline import WORKERS_PER_CORE, answers
from .host import INSTANCE
from .report import Report

CROWD = 40
_ROUNDS = 3
# What the gateway's page waits before it is loaded again.
_REFRESH_SECONDS = 1.0


def measure_wake(report: Report, client: httpx.Client, seats: Sequence[str]) -> None:
    """``seats`` are running ones, ``CROWD`` at least, of an API that starts what a person stopped."""
    engine = docker.APIClient(version="auto", timeout=300)
    found = engine.containers(filters={"label": f"atelier.instance={INSTANCE}"})
    addresses = {
        entry["Labels"]["atelier.workspace"]: entry["NetworkSettings"]["Networks"][f"{INSTANCE}-open"]["IPAddress"]
        for entry in found
    }
    containers = {entry["Labels"]["atelier.workspace"]: entry["Id"] for entry in found}
    crowd = {id: addresses[id] for id in seats[:CROWD]}

    def rest(ids: Sequence[str]) -> None:
        """Lets them sleep: by hand, which counts as a person's stop a second later."""
        with ThreadPoolExecutor(WORKERS_PER_CORE * 2) as pool:
            list(pool.map(lambda id: engine.stop(containers[id], timeout=5), ids))
        eventually(lambda: {_stopped_for(client, id) for id in ids} == {"person"}, "all of them sleep")

    def start_raw(ids: Sequence[str]) -> float:
        """The floor: the same containers, started and polled through the Docker API, and their pages."""

        def start(id: str) -> None:
            engine.start(containers[id])
            while not answers(crowd[id]):
                time.sleep(0.05)
            httpx.get(f"http://{crowd[id]}:8082/", follow_redirects=True, timeout=120).raise_for_status()

        workers = min(WORKERS_PER_CORE * engine.info()["NCPU"], len(ids))
        begin = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(start, ids))
        return time.monotonic() - begin

    one, ours, raw = list(crowd)[:_ROUNDS], [], []
    for id in one:
        rest([id])
        ours.append(max(asyncio.run(_visit_all(client, {id: crowd[id]}))))
        rest([id])
        raw.append(start_raw([id]))
    own, floor = statistics.median(ours), statistics.median(raw)
    what = "wake: first navigation until the IDE's page"
    report.add(what, f"{own:.2f} s", f"{floor:.2f} s (docker start, page)", "at most 2.5 s", own <= 2.5)

    rest(list(crowd))
    floor = start_raw(list(crowd))
    rest(list(crowd))
    took = asyncio.run(_visit_all(client, crowd))
    own, goal = max(took), floor * 1.25 + 2.5
    ratio = f"{own:.2f} s ({own / floor:.2f} x), p50 {statistics.median(took):.2f} s"
    formula = f"1.25 x baseline + 2.5 s = {goal:.2f} s"
    report.add(f"wake: {CROWD} at once, until the last one's page", ratio, f"{floor:.2f} s", formula, own <= goal)


def _stopped_for(client: httpx.Client, id: str) -> str | None:
    project = client.get(f"/api/projects/{id}").json()["project"]
    return project["stoppedFor"] if project["container"]["status"] == "exited" else None


async def _visit_all(client: httpx.Client, seats: dict[str, str]) -> list[float]:
    """Seconds of each visit, as browsers make them: the gateway asks the API, and its page is loaded again."""
    limits = httpx.Limits(max_connections=2 * len(seats))
    async with httpx.AsyncClient(timeout=120, limits=limits) as browser:
        return await asyncio.gather(
            *(_visit(browser, f"{client.base_url}/api/visits/{id}", address) for id, address in seats.items())
        )


async def _visit(browser: httpx.AsyncClient, question: str, address: str) -> float:
    begin = time.monotonic()
    while (met := await browser.post(question, headers={"X-Alias-Caller": "203.0.113.9"})).status_code == 202:
        await asyncio.sleep(_REFRESH_SECONDS)
    if met.status_code != 204:
        raise SystemExit(f"a visit met {met.status_code}")
    page = await browser.get(f"http://{address}:8082/", follow_redirects=True)
    page.raise_for_status()
    return time.monotonic() - begin
