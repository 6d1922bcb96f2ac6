"""A whole installation, with attackers in its seats.

Each test attacks from inside a real seat and then checks what others would notice: the operator, another participant,
the host. Seats are created through the API, as an operator does.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from tests.engine import only_session
from tests.installed import Installation, installed
from tests.waiting import eventually

GROUP = "hostile-day"
ADMIN_PASSWORD = "canary-of-the-hostile-day"
# A loaded machine may be slow; only what hangs takes longer.
PATIENCE = 180.0
# The variables of an installation that is running already: it is attacked instead of a new one, and stays.
RUNNING = os.environ.get("ATELIER_TEST_INSTALLATION")
# An address of a range that is nobody's, where a test may play a model's server for seats that are recorded.
MODELS = "198.51.100.77"
VARIABLES: dict[str, Any] = {
    "atelier_recorder_allowed_networks": [f"{MODELS}/32"],
    "atelier_instance": "atelier-hostile",
    "atelier_base_port": 18091,
    "atelier_network_open_bridge": "atl-hst",
    "atelier_network_open_subnet": "172.21.0.0/17",
    "atelier_network_logging_bridge": "atl-hst-log",
    "atelier_network_logging_subnet": "172.21.128.0/18",
    "atelier_network_security_bridge": "atl-hst-sec",
    "atelier_network_security_subnet": "172.21.192.0/18",
    "atelier_templates": ["empty"],
    # Tests make the seats that they need.
    "workshop_seats": 1,
    "workshop_group": "prepared",
    "atelier_workshop_group": GROUP,
    "atelier_workshop_admin_password": ADMIN_PASSWORD,
    # Little, so that one that fills it has done so soon.
    "atelier_seat_disk": "2g",
    **(json.loads(Path(RUNNING).read_text()) if RUNNING else {}),
}
INSTANCE, PORT = VARIABLES["atelier_instance"], VARIABLES["atelier_base_port"]
# As many jobs as the API has under way.
AT_A_TIME = 4
_numbers = count(1)


@dataclass(frozen=True)
class Seat:
    """A running workspace with a stranger in it."""

    id: str
    name: str
    url: str
    password: str

    @property
    def host(self) -> str:
        """The name that the gateway knows it by, without a port."""
        return httpx.URL(self.url).host

    @property
    def container(self) -> Container:
        """Found as any tool outside finds it: by its labels."""
        labels = [f"atelier.workspace={self.id}", f"atelier.instance={INSTANCE}"]
        found = docker.from_env().containers.list(all=True, filters={"label": labels})
        return next(container for container in found if "-kept-" not in container.name)

    @property
    def address(self) -> str:
        (network,) = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAMConfig"]["IPv4Address"])

    def run(self, script: str, *, user: str = "coder", timeout: float = PATIENCE) -> str:
        """Runs a script as the stranger in a terminal; returns what the terminal shows."""
        done = self.try_run(script, user=user, timeout=timeout)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def try_run(
        self, script: str, *, user: str = "coder", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Like ``run``, but the script may fail."""
        return subprocess.run(
            ["docker", "exec", "--user", user, self.container.id, "bash", "-lc", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def leave_running(self, script: str) -> None:
        """Starts a process that survives the end of the terminal."""
        self.container.exec_run(["setsid", "bash", "-lc", script], user="coder", detach=True)


@dataclass(frozen=True)
class Platform:
    """The installation under attack. ``api`` calls as the operator does on the machine itself."""

    installation: Installation
    api: httpx.Client

    def create(self, name: str, **body: Any) -> Seat:
        password = f"secret-of-{name}-1!"
        answer = self.api.post(
            "/api/projects/create",
            json={"projectName": name, "projectType": "empty", "passwordProtected": True, "password": password, **body},
        )
        assert answer.status_code == 201, answer.text
        project = answer.json()["project"]
        return Seat(project["id"], name, project["workspaceUrl"], password)

    def delete(self, seat: Seat) -> None:
        answer = self.api.request("DELETE", f"/api/projects/{seat.id}", json={"password": seat.password})
        if answer.status_code == 401:  # its password is another by now: the playbook asks for none
            removed = self.installation.run("play", "workspace_delete", "-e", f"workspace_id={seat.id}")
            assert removed.returncode == 0, removed.stdout
        else:
            assert answer.status_code in (200, 404), answer.text

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, when it has ended."""

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.api.get(f"/api/jobs/{job_id}").json()["job"]
            return job if job["state"] in ("successful", "failed", "error", "canceled") else None

        return dict(eventually(look, f"the end of job {job_id}", PATIENCE))

    def visit(self, host: str, path: str = "/", **more: Any) -> httpx.Response:
        """A browser on this machine requests that host from the gateway."""
        return httpx.request(
            more.pop("method", "GET"),
            f"http://127.0.0.1:{PORT}{path}",
            headers={"Host": f"{host}:{PORT}", **more.pop("headers", {})},
            timeout=PATIENCE,
            **more,
        )


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("installation")
    with only_session("atelier-hostile"):
        running = nullcontext(Installation(Path(RUNNING), "")) if RUNNING else installed(folder, **VARIABLES)
        with running as made, httpx.Client(base_url=f"http://localhost:{PORT}", timeout=PATIENCE) as api:
            yield Platform(made, api)


class Seats:
    """Makes seats, and removes them all at the end."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._made: list[Seat] = []

    def __call__(self, **body: Any) -> Seat:
        """Words as in a create request: proxyMode="security", group=GROUP."""
        return self.several(1, **body)[0]

    def several(self, count: int, **body: Any) -> list[Seat]:
        """Makes ``count`` seats side by side."""

        def make(number: int) -> Seat:
            made = self._platform.create(f"stranger-{number}", **body)
            self._made.append(made)
            return made

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(make, islice(_numbers, count)))

    def remove(self) -> None:
        """Side by side. One that can't be removed leaves none of the others."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            removing = [pool.submit(self._remove, seat) for seat in self._made]
        self._made.clear()
        for one in removing:
            one.result()

    def _remove(self, seat: Seat) -> None:
        with suppress(NotFound, StopIteration):
            seat.container.unpause() if seat.container.status == "paused" else None
        self._platform.delete(seat)


@contextmanager
def seats_of(platform: Platform) -> Iterator[Seats]:
    seats = Seats(platform)
    try:
        yield seats
    finally:
        seats.remove()


@pytest.fixture
def seat(platform: Platform) -> Iterator[Seats]:
    """Makes seats that are gone after the test."""
    with seats_of(platform) as seats:
        yield seats


@pytest.fixture(scope="session")
def bystander(platform: Platform) -> Iterator[Seat]:
    """A seat in which nothing happens, whatever is done to the others."""
    with seats_of(platform) as seats:
        yield seats()
