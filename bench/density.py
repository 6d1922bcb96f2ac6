"""Two hundred seats on one machine, most of them asleep and up to forty open in a browser: what each costs, and whether
lists, pages and claims are as quick as with few."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
from playwright.sync_api import BrowserContext, sync_playwright

from tests.waiting import eventually

from .api import PORT, Api, api_settings, ask, clone, create, herds, serve, share_mib, tree_mib
from .baseline import WORKERS_PER_CORE
from .host import INSTANCE, available_memory_gib
from .pages import CHROMIUM_OPTIONS, seconds_until_interactive
from .report import Report, p95

_SEATS = 200
_IN_USE = 40
_AT_ONCE = 50
_OBSERVED_SECONDS = 30
# A tab of an IDE takes nearly as much memory as its seat: no more are opened when less is left on the machine.
_LEFT_GIB = 2.5
# A workbench that starts beside 39 others on two cores.
_PATIENCE_MS = 180_000
_NO_GOAL = ("-", "-", True)


def measure_density(report: Report, variables: Path) -> None:
    """Takes some ten minutes, and all memory of a machine of 24 GiB, of which the browser takes half."""
    state = Path(json.loads(variables.read_text())["atelier_state_dir"])
    with tempfile.TemporaryDirectory() as folder, serve(api_settings(Path(folder), state, "base"), Path(folder)) as api:
        create(api, "base")
        seats = _Seats(api)
        _make(report, api, seats)
        _idle(report, seats)
        _answers(report, api, f"{_SEATS} seats, {_IN_USE} idle")
        with seats.open_in_browser() as opened:
            _in_use(report, api, seats, opened)
            _answers(report, api, f"{_SEATS} seats, {len(opened)} in use")
            with ThreadPoolExecutor(1) as aside:  # Playwright has the loop of this thread
                slowest = p95(aside.submit(herds, _IN_USE, 2).result())
        report.add(f"density: claim, {_IN_USE} at once, p95", f"{slowest:.1f} ms", "-", "at most 50 ms", slowest <= 50)


@dataclass(frozen=True)
class _Seat:
    container: str
    address: str
    pid: int


class _Seats:
    """The running seats, by id."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._engine = docker.APIClient(version="auto", timeout=300)
        self.running: dict[str, _Seat] = {}

    def add(self, ids: Sequence[str]) -> None:
        for entry in self._engine.containers(filters={"label": f"atelier.instance={INSTANCE}"}):
            if (id := entry["Labels"]["atelier.workspace"]) in ids:
                address = entry["NetworkSettings"]["Networks"][f"{INSTANCE}-open"]["IPAddress"]
                pid = self._engine.inspect_container(entry["Id"])["State"]["Pid"]
                self.running[id] = _Seat(entry["Id"], address, pid)

    def sleep(self, ids: Sequence[str]) -> None:
        stopping = [self.running.pop(id).container for id in ids]
        with ThreadPoolExecutor(WORKERS_PER_CORE * 2) as pool:
            list(pool.map(lambda container: self._engine.stop(container, timeout=5), stopping))
        eventually(lambda: not self._api_runs() & set(ids), f"{len(ids)} seats sleep")

    def _api_runs(self) -> set[str]:
        projects = self._api.client.get("/api/projects/").json()["projects"]
        return {project["id"] for project in projects if project["status"] == "running"}

    def memory_mib(self, ids: Collection[str]) -> float:
        """The memory of the median seat's processes, in MiB."""
        return statistics.median(tree_mib(self.running[id].pid) for id in ids)

    def cpu_share(self, ids: Collection[str]) -> str:
        """The CPU time of one seat while nobody types, as a share of a core."""
        before, begin = self._cpu_seconds(ids), time.monotonic()
        time.sleep(_OBSERVED_SECONDS)
        spent = (self._cpu_seconds(ids) - before) / (time.monotonic() - begin) / len(ids)
        return f"{spent * 100:.2f} % of a core"

    def _cpu_seconds(self, ids: Collection[str]) -> float:
        stats = (self._engine.stats(self.running[id].container, stream=False, one_shot=True) for id in ids)
        return float(sum(each["cpu_stats"]["cpu_usage"]["total_usage"] for each in stats)) / 1e9

    @contextmanager
    def open_in_browser(self) -> Iterator[list[str]]:
        """A tab of Chromium for each seat, as long as there is memory for it, in which its IDE has a file open."""
        opened: list[str] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_OPTIONS)
            context = browser.new_context()
            for id, seat in self.running.items():
                if available_memory_gib() < _LEFT_GIB:
                    break
                _open(context, f"http://{seat.address}:8082/")
                opened.append(id)
                print(f"  {len(opened)} of {len(self.running)} seats open", flush=True)
            yield opened
            browser.close()


def _open(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    page.goto(url, timeout=_PATIENCE_MS)
    readme = page.get_by_role("treeitem", name="README.md")
    readme.wait_for(timeout=_PATIENCE_MS)
    # A file in an editor, as somebody at work has.
    readme.dblclick()
    page.get_by_role("tab", name="README.md").wait_for(timeout=_PATIENCE_MS)


def _make(report: Report, api: Api, seats: _Seats) -> None:
    """The source is one of the seats in use."""
    begin, made = time.monotonic(), 0
    seats.add([project["id"] for project in api.client.get("/api/projects/").json()["projects"]])
    source = next(iter(seats.running))
    before = _dockerd_mib()
    while made < _SEATS - 1:
        batch = clone(api, source, min(_AT_ONCE, _SEATS - 1 - made))
        made += len(batch)
        seats.add(batch)
        seats.sleep(list(seats.running)[_IN_USE // 4 * -(-made // _AT_ONCE) :])
        print(f"  {made + 1} of {_SEATS} seats made", flush=True)
    assert len(seats.running) == _IN_USE
    report.add(
        f"density: make {_SEATS} seats, {_SEATS - _IN_USE} asleep", f"{time.monotonic() - begin:.0f} s", *_NO_GOAL
    )
    asleep = (_dockerd_mib() - before) / _SEATS
    report.add("density: dockerd's memory for a seat", f"{asleep:.2f} MiB", *_NO_GOAL)


def _idle(report: Report, seats: _Seats) -> None:
    report.add("density: memory of an idle seat", f"{seats.memory_mib(seats.running):.0f} MiB", *_NO_GOAL)
    report.add("density: memory of a running container's shim", f"{_shims_mib() / _IN_USE:.1f} MiB", *_NO_GOAL)
    report.add("density: CPU of an idle seat", seats.cpu_share(seats.running), *_NO_GOAL)


def _in_use(report: Report, api: Api, seats: _Seats, opened: Sequence[str]) -> None:
    free = available_memory_gib()
    what = f"density: memory free with {len(opened)} of {_IN_USE} seats in a browser, and that"
    report.add(what, f"{free:.1f} GiB", *_NO_GOAL)
    report.add("density: memory of a seat in use", f"{seats.memory_mib(opened):.0f} MiB", *_NO_GOAL)
    report.add("density: CPU of a seat in use", seats.cpu_share(opened), *_NO_GOAL)
    report.add(f"density: API's memory with {_SEATS} seats", f"{api.memory_mib():.0f} MiB", *_NO_GOAL)


def _answers(report: Report, api: Api, when: str) -> None:
    p50 = statistics.median(ask(api.client, "/api/projects/", 100))
    report.add(f"density: list, {when}, p50", f"{p50:.2f} ms", "-", "at most 12 ms", p50 <= 12)
    # In a separate thread, because Playwright has one event loop for each.
    with ThreadPoolExecutor(1) as browser:
        soon = browser.submit(seconds_until_interactive, f"http://127.0.0.1:{PORT}", _SEATS).result()
    report.add(f"density: page /, {when}, interactive", f"{soon:.2f} s", "-", "at most 1 s", soon <= 1)


def _dockerd_mib() -> float:
    return share_mib(int(Path("/var/run/docker.pid").read_text()))


def _shims_mib() -> float:
    """containerd's process beside each container."""
    running = psutil.process_iter(["name"])
    return sum(share_mib(each.pid) for each in running if each.info["name"].startswith("containerd-shim"))
