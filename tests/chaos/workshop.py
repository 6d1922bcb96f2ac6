"""The workshop of the chaos tests: the requests to it, and the conditions that must hold after any failure."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from atelier.common.passwords import verify_password
from docker.errors import DockerException

from tests.chaos.machine import INSTANCE, PORT, Machine
from tests.module.installation import Installation, is_healthy, login
from tests.waiting import eventually

ENDED = ("successful", "failed", "error", "canceled")
_PATIENCE = 240.0
_SCRATCH = "/dev/shm"  # noqa: S108 - where runs have their private folders


@dataclass
class Seat:
    """A workspace as it should be. ``passwords``: those that may hold, several while a change is under way."""

    id: str
    name: str
    up: bool
    passwords: set[str]
    # The files' contents by name; of a clone also its source's.
    files: dict[str, str] = field(default_factory=dict)

    @property
    def password(self) -> str:
        (one,) = self.passwords
        return one


class Workshop:
    """Calls the API as the operator does on the machine itself, and remembers what it was asked for."""

    def __init__(self, machine: Machine, installation: Installation) -> None:
        self.machine, self.installation = machine, installation
        self.api = httpx.Client(base_url=f"http://localhost:{PORT}", timeout=120)
        self.seats: dict[str, Seat] = {}
        self._number = 0
        self.untidy: dict[str, Any] = {}

    # --- Asking -----------------------------------------------------------------------------------------------------

    def new_name(self) -> str:
        self._number += 1
        return f"seat-{self._number}"

    def begin(self, operation: str, seat: Seat | None) -> tuple[str, Callable[[str], None]]:
        """Asks for the operation without waiting for its end: its job's id, and what is to be noted once that has ended
        in a state."""
        before = set(self.job_ids())
        settle = getattr(self, f"_{operation}")(seat)
        job = eventually(lambda: next(iter(set(self.job_ids()) - before), None), f"a job for the {operation}")
        return str(job), settle

    def _send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """A call whose answer may be taken away by a death."""
        with suppress(httpx.TransportError):
            self.api.request(method, path, json=body, headers=headers, timeout=0.3)

    def _create(self, _: Seat | None) -> Callable[[str], None]:
        name, password = self.new_name(), secrets.token_hex(8)
        body = {
            "projectName": name,
            "projectType": "empty",
            "group": "workshop",
            "passwordProtected": True,
            "password": password,
        }
        self._send("POST", "/api/projects/create", body, Prefer="respond-async")

        def settle(state: str) -> None:
            for row in self.installation.rows():
                if row["name"] == name:
                    self._add(row["id"], name, password, state)

        return settle

    def _clone(self, source: Seat | None) -> Callable[[str], None]:
        assert source is not None
        before = {row["id"] for row in self.installation.rows()}
        password = secrets.token_hex(8)
        body = {"count": 2, "passwordProtected": True, "password": password}
        self._send("POST", f"/api/projects/{source.id}/clone", body)

        def settle(state: str) -> None:
            for row in self.installation.rows():
                if row["id"] not in before:
                    self._add(row["id"], row["name"], password, state, source.files)

        return settle

    def _add(self, id: str, name: str, password: str, state: str, files: dict[str, str] | None = None) -> None:
        """A seat that was made, or whose making was given up: then it is taken away, as an operator does."""
        if self.installation.row(name)["status"] == "error" and state != "successful":
            answer = self.api.request("DELETE", f"/api/projects/{id}", json={"password": password})
            assert answer.status_code == 200, answer.text
            return
        self.seats[id] = Seat(id, name, True, {password}, dict(files or {}))

    def _stop(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        self._send("POST", f"/api/projects/{seat.id}/stop", {"password": seat.password})
        return self._settled(seat, up=False)

    def _start(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        self._send("POST", f"/api/projects/{seat.id}/start")
        return self._settled(seat, up=True)

    def _settled(self, seat: Seat, *, up: bool) -> Callable[[str], None]:
        def settle(state: str) -> None:
            if state == "successful":
                seat.up = up
            else:
                # It was killed in the middle: it is what somebody wanted of it last, whichever that is.
                seat.up = bool(self.installation.row(seat.name)["wanted"] == "running")

        return settle

    def _password(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        password = secrets.token_hex(8)
        body = {"newPassword": password, "currentPassword": seat.password}
        self._send("PUT", f"/api/projects/{seat.id}/password", body)

        def settle(state: str) -> None:
            seat.passwords = {password} if state == "successful" else seat.passwords | {password}

        return settle

    def _checkpoint(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        self._send("POST", f"/api/projects/{seat.id}/checkpoint")
        return lambda state: None

    def _reset(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        self._send("POST", f"/api/projects/{seat.id}/reset")

        def settle(state: str) -> None:
            # From its checkpoint or its base: which of its files those had, the files themselves say.
            seat.up = True
            present = self.files_of(seat)
            assert all(seat.files.get(name) == text for name, text in present.items()), (present, seat.files)
            seat.files = present

        return settle

    def _delete(self, seat: Seat | None) -> Callable[[str], None]:
        assert seat is not None
        self._send("DELETE", f"/api/projects/{seat.id}", {"password": seat.password})

        def settle(state: str) -> None:
            if all(row["id"] != seat.id for row in self.installation.rows()):
                del self.seats[seat.id]
            else:
                assert state != "successful"

        return settle

    def _collect(self, seat: Seat | None) -> Callable[[str], None]:
        self._send("POST", "/api/workshop/collect")
        return lambda state: None

    # --- Looking ----------------------------------------------------------------------------------------------------

    def job_ids(self) -> list[str]:
        return [row["id"] for row in self._query("SELECT id FROM jobs ORDER BY rowid")]

    def job(self, id: str) -> dict[str, Any]:
        return self._query("SELECT * FROM jobs WHERE id = ?", id)[0]

    def events(self, id: str) -> list[dict[str, Any]]:
        return self._query("SELECT * FROM job_events WHERE job_id = ? ORDER BY sequence", id)

    def _query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.installation.state / "registry.sqlite3", timeout=30)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    def write_file(self, seat: Seat, name: str, text: str) -> None:
        self.installation.run_inside({"id": seat.id}, f"printf %s {text} >/workspace/{name}; sync /workspace/{name}")
        seat.files[name] = text

    def files_of(self, seat: Seat) -> dict[str, str]:
        """The seat's marks and their content. Waits for containerd, which may be restarting."""
        script = "cd /workspace && for f in mark-*; do [ ! -e $f ] || echo $f $(cat $f); done"

        def look() -> list[str] | None:
            with suppress(DockerException, AssertionError):
                return [*self.installation.run_inside({"id": seat.id}, script).splitlines(), ""]
            return None

        lines: list[str] = eventually(look, f"the files of {seat.name}", 30)
        return dict(line.split() for line in lines[:-1])

    def platform_is_up(self) -> bool:
        with suppress(httpx.TransportError, ValueError, DockerException):
            health = self.api.get("/api/health", timeout=5)
            if health.status_code != 200 or "docker" in health.json():
                return False
            names = {f"{INSTANCE}-{name}" for name in ("api", "gateway", "git", "squid", "recorder")}
            up = {container.name for container in self.installation.docker.containers.list()}
            return names <= up
        return False

    def all_up(self, but: str) -> bool:
        """Whether what should run does: the platform, and each seat, apart from those of the job that is under way."""
        if not self.platform_is_up():
            return False
        at_work = self.job(but)["project_ids"] if but else ""
        rows = {row["id"]: row for row in self.installation.rows()}
        return all(
            is_healthy(rows[seat.id]["address"])
            for seat in self.seats.values()
            if seat.up and seat.id in rows and seat.id not in at_work
        )

    def ended(self, job: str) -> str:
        eventually(lambda: self.job(job)["state"] in ENDED, f"the end of {self.job(job)}", _PATIENCE)
        return str(self.job(job)["state"])

    def quiet(self) -> None:
        """Waits until no job is under way, and what comes after one is over, too."""
        open_jobs = "SELECT * FROM jobs WHERE state IN ('pending', 'running')"
        eventually(lambda: not self._query(open_jobs), "all jobs end", _PATIENCE)

    # --- What must be true ------------------------------------------------------------------------------------------

    def holds(self) -> None:
        """Rows, containers and memories agree; no file or password is lost; nothing is left."""
        rows = {row["id"]: row for row in self.installation.rows()}
        assert rows.keys() == self.seats.keys(), (list(rows.values()), self.seats)
        for seat in self.seats.values():
            row = rows[seat.id]
            eventually(lambda seat=seat: self._is_as_it_should_be(seat), f"{seat} as it should be; it is {row}", 30)  # type: ignore[misc]
        try:
            eventually(self._is_tidy, "nothing is left", 30)
        except AssertionError as error:
            raise AssertionError(f"something is left: {self.untidy}") from error

    def _is_as_it_should_be(self, seat: Seat) -> bool:
        row = self.installation.row(seat.name)
        container = self.installation.container({"id": seat.id})
        if (row["status"], container.status) != (("running", "running") if seat.up else ("stopped", "exited")):
            return False
        if not seat.up:
            return True
        if not is_healthy(row["address"]):
            return False
        # By the hash: the IDE counts wrong passwords, and soon takes none at all.
        working = {word for word in seat.passwords if verify_password(row["password_hash"], word)}
        if len(working) != 1 or self.files_of(seat) != seat.files:
            return False
        seat.passwords = working
        return login(row["address"], seat.password)

    def _is_tidy(self) -> bool:
        """Keeps in ``untidy`` what is not, for the error."""
        installation = self.installation
        names = sorted(installation.container_name({"id": id}) for id in self.seats)
        found = [c.name for c in installation.containers() if "atelier.service" not in c.labels]
        used = {container.attrs["Image"] for container in installation.containers()}
        journals = installation.state / "snapshots"
        routes, rows = installation.routes(), {row["id"]: row["address"] for row in installation.rows()}
        volumes = sorted(installation.volume_name({"id": id}) for id in self.seats)
        self.untidy = {
            # Resets keep what they replaced, on purpose.
            "containers": sorted({name for name in found if "-kept-" not in name} ^ set(names)),
            "volumes": sorted(set(installation.volumes()) ^ set(volumes)),
            "routes": sorted(set(routes.items()) ^ set(rows.items())),
            "images": [
                (image.id, image.tags, image.labels)
                for image in installation.snapshots()
                if image.id not in used and not any("/checkpoint:" in tag for tag in image.tags)
            ],
            "journals": [path.name for path in journals.iterdir()] if journals.exists() else [],
            "batches": installation.open_batches(),
            "scratch": self._scratch(),
        }
        return not any(self.untidy.values())

    def _scratch(self) -> str:
        """The folders that runs left in the API's memory file system."""
        api = self.installation.docker.containers.get(f"{INSTANCE}-api")
        code, output = api.exec_run(["find", _SCRATCH, "-maxdepth", "1", "-name", "atelier-run-*"])
        assert code == 0, output
        return str(output.decode())

    def wait_until_up(self, job: str, seconds: float) -> float:
        """Waits for Docker, then for everything that should run; the seconds that this took after Docker's return."""
        eventually(self.machine.answers, "Docker is back", 90)
        begin = time.monotonic()
        eventually(lambda: self.all_up(job), "everything that should run answers", seconds)
        return time.monotonic() - begin
