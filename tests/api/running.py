"""A running API for tests: a separate instance on a real engine, with the API as a process that can be killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
from docker.errors import NotFound

from tests.declared import inventory_values, write_settings
from tests.documented import Documented
from tests.module.installation import REPOSITORY, Installation
from tests.waiting import eventually

TOKEN = "test-token-0123456789abcdef-0123456789abcdef"
SCRATCH = Path("/dev/shm")  # noqa: S108 - where runs have their private folders
MARK = "ATELIER_EXECUTION"
ENDED = ("successful", "failed", "error", "canceled")
# A longer wait means that something is broken.
PATIENCE = 180.0
# Below those that the kernel gives to connections: a connection could get the port of an API that is down for a moment.
_PORTS = range(20000, 32768)
# The ports of this process: a socket of that name keeps each from other sessions until the process ends.
_claims: list[socket.socket] = []


class Instance(Installation):
    """One installation: state folder, share of the test network, settings of its API."""

    def __init__(self, name: str, folder: Path, subnet: str, network: str, engine_url: str, prefix: str) -> None:
        super().__init__(name, folder, subnet, network, engine_url, atelier_image_prefix=prefix)
        self.subnet, self.network, self.prefix = subnet, network, prefix

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def log(self) -> Path:
        return self.folder / "api.log"

    def site(self, engine_url: str | None = None, **changed: Any) -> dict[str, Any]:
        return {
            **inventory_values()["atelier_site"],
            "instance": self.name,
            "state_dir": str(self.state),
            "engine_url": engine_url or self.engine_url,
            "image_prefix": self.prefix,
            "networks": {"none": {"name": self.network, "subnet": self.subnet}},
            "git": None,
            **changed,
        }

    def write_settings(self, site: Mapping[str, Any], **changed: Any) -> None:
        """``changed`` has the names of api/settings.py; ``workshop`` is a dictionary of those of the workshop."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = {
            "site": dict(site),
            "api_templates": ["empty", "python-flask", "java-spring", "nodejs-react"],
            "enable_proxy": False,
            "workspace_timeout": 120,
            "disk_reserve": 0,
            "workshop_seats_per_browser": 0,
            **{f"workshop_{name}": value for name, value in changed.pop("workshop", {}).items()},
            **changed,
        }
        write_settings(self.folder, TOKEN, **settings)

    def lose(self, project: Mapping[str, Any]) -> None:
        """Takes the workspace's container away, if it has one."""
        with suppress(NotFound):
            self.container(project).remove(force=True)

    def forget(self, project: Mapping[str, Any]) -> None:
        """Takes a workspace away without a playbook: for tests that made many, and are about something else."""
        self.lose(project)
        with suppress(NotFound):
            self.docker.volumes.get(self.volume_name(project)).remove(force=True)
        with closing(sqlite3.connect(self.state / "registry.sqlite3")) as db, db:
            db.execute("DELETE FROM workspaces WHERE id = ?", (project["id"],))

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        path = self.state / "registry.sqlite3"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]


class Api:
    """The API of an instance as a process. Calls are made from loopback unless ``X-Forwarded-For`` says otherwise.

    Every JSON answer is held against the API's own OpenAPI document."""

    # Where its code and its playbooks lie.
    home = REPOSITORY

    def __init__(self, instance: Instance, *, engine_url: str | None = None, **settings: Any) -> None:
        self.instance = instance
        site = {key: settings.pop(key) for key in list(settings) if key in instance.site()}
        instance.write_settings(instance.site(engine_url, **site), **settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE, event_hooks={"response": [self.hold]}
        )
        self._documented: Documented | None = None

    # --- The process ----------------------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> Api:
        with self.instance.log.open("ab") as log:
            self._documented = None
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "api.main:create_app", "--factory"),
                    *("--host", "127.0.0.1", "--port", str(self.port), "--no-access-log", "--no-proxy-headers"),
                    *("--timeout-graceful-shutdown", "2"),
                ],
                cwd=self.home,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": os.environ.get("HOME", "/root"),
                    "LC_ALL": "C.UTF-8",
                    "PYTHONPATH": f"{self.home}:{self.home / 'module_utils'}",
                    "ATELIER_SETTINGS": str(self.instance.settings),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            eventually(self.answers, "the API answers")
            eventually(lambda: "docker" not in self.get("/api/health").json(), "the API sees Docker")
        return self

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.read_log()
        try:
            return self.client.get("/api/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9 of the API alone: its playbooks live on, as after a crash."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        # A child that was being forked has its socket until it becomes another program.
        eventually(lambda: _can_listen(self.port), "the port of the killed API is free")

    def terminate(self) -> None:
        assert self._process is not None
        self._process.terminate()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(60)

    def close(self) -> None:
        """Ends the API and whatever its playbooks left."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in self.executions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.client.close()

    def read_log(self) -> str:
        return self.instance.log.read_text(errors="replace") if self.instance.log.exists() else ""

    def executions(self) -> list[int]:
        """Processes of playbook runs of this instance's jobs."""
        jobs = {row["id"] for row in self.instance.query("SELECT id FROM jobs")}
        return [pid for pid, job in executions() if job in jobs]

    # --- Calling --------------------------------------------------------------------------------------------------

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def hold(self, answer: httpx.Response) -> None:
        """Raises AssertionError for an answer that is not as documented."""
        kind = answer.headers.get("content-type", "")
        # The caller reads a streamed body.
        body = answer.read() if kind == "application/json" else b""
        self.hold_answer(answer.request.method, answer.request.url.path, answer.status_code, kind, body)

    def hold_answer(self, method: str, path: str, status: int, media_type: str, body: bytes) -> None:
        if self._documented is None:
            document = httpx.get(f"http://127.0.0.1:{self.port}/api/openapi.json", timeout=PATIENCE)
            self._documented = Documented(document.json())
        self._documented.check(method, path, status, media_type, body)

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request with the body as JSON; bytes are sent as they are."""
        if body is None:
            return self.client.request(method, path, **more)
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        # Lone surrogates and the like go as escapes, as any JSON encoder does by default.
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.request(method, path, content=content, headers=headers, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.send("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.send("PUT", path, body, **more)

    def delete(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.send("DELETE", path, body, **more)

    def begin(self, name: str, **body: Any) -> tuple[str, str]:
        """Asks for a workspace without waiting: its id, and its job's."""
        answer = self.post("/api/projects/create", _new(name, body), headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        return answer.json()["project"]["id"], answer.headers["location"].rpartition("/")[2]

    def create(self, name: str, **body: Any) -> dict[str, Any]:
        answer = self.post("/api/projects/create", _new(name, body))
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["project"])

    def clone(self, source: str, count: int, **body: Any) -> tuple[list[str], str]:
        """Starts a clone; returns the ids of its seats and of its job."""
        answer = self.post(f"/api/projects/{source}/clone", {"count": count, **body})
        assert answer.status_code == 202, answer.text
        return [seat["projectId"] for seat in answer.json()["clones"]], answer.json()["jobId"]

    def project(self, id: str) -> dict[str, Any]:
        answer = self.get(f"/api/projects/{id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["project"])

    def status(self, id: str) -> str:
        answer = self.get(f"/api/projects/{id}")
        return str(answer.json()["project"]["status"]) if answer.status_code == 200 else "absent"

    def job(self, id: str) -> dict[str, Any]:
        answer = self.get(f"/api/jobs/{id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["job"])

    def jobs(self) -> list[dict[str, Any]]:
        return list(self.get("/api/jobs").json()["jobs"])

    def newest_job(self, operation: str) -> dict[str, Any] | None:
        return next((job for job in self.jobs() if job["operation"] == operation), None)

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, when it has ended."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in ENDED else None

        return dict(eventually(look, f"the end of job {job_id}", PATIENCE))

    def has_ended(self, job_id: str) -> bool:
        """Asks the database, not the API, which may not be there."""
        (row,) = self.instance.query("SELECT state FROM jobs WHERE id = ?", job_id)
        return row["state"] in ENDED

    def wait_for_quiet(self) -> None:
        """Returns when no job is under way."""
        eventually(lambda: all(job["state"] in ENDED for job in self.jobs()), "the end of all jobs", PATIENCE)

    def events(self, job_id: str, last_event_id: str | None = None) -> list[dict[str, Any]]:
        """All events of the job's stream until its end: each with id, event and data."""
        return list(self.stream(job_id, last_event_id))

    def stream_so_far(self, job_id: str) -> list[dict[str, Any]]:
        """The events that a job has by now, without waiting for more."""
        rows = self.instance.query("SELECT kind, data FROM job_events WHERE job_id = ? ORDER BY sequence", job_id)
        return [{"event": row["kind"], "data": json.loads(row["data"])} for row in rows]

    def stream(self, job_id: str, last_event_id: str | None = None) -> Iterator[dict[str, Any]]:
        headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
        with self.client.stream("GET", f"/api/jobs/{job_id}/events", headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            event: dict[str, Any] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "event"):
                    event[name] = value
                elif name == "data":
                    event["data"] = json.loads(value)
                elif not line and "data" in event:
                    yield event
                    event = {}

    def audit(self, what: str | None = None) -> list[dict[str, Any]]:
        entries = self.get("/api/audit", params={"limit": 1000}).json()["entries"]
        return [entry for entry in entries if what in (None, entry["what"])]


def project_copy(folder: Path) -> Path:
    """The project's files as the API needs them, for a test that changes some. An ``Api`` has it as its ``home``."""
    for name in ("api", "module_utils", "library", "plugins", "playbooks"):
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True)
    shutil.copy(REPOSITORY / "ansible.cfg", folder)
    (folder / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "runbook.md", folder / "docs")
    return folder


def executions() -> list[tuple[int, str]]:
    """Living processes of playbook runs, with the id of the run that each is of."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            match = re.search(rf"(?:^|\0){MARK}=([^\0]+)".encode(), (entry / "environ").read_bytes())
            if match and state != "Z":
                found.append((int(entry.name), match[1].decode()))
    return found


def is_error(answer: httpx.Response, status: int, code: str | None = None, *fields: str) -> dict[str, Any]:
    """Asserts an error of the contract's shape, with these fields in its details; returns it."""
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["success"] is False
    assert isinstance(body["error"], str) and body["error"]
    assert isinstance(body["message"], str) and body["message"]
    assert re.fullmatch(r"[A-Z][A-Z_]+", body["code"]), body
    assert isinstance(body["details"], dict)
    if code is not None:
        assert body["code"] == code, body
    for field in fields:
        assert field in body["details"], body
    return dict(body)


def _new(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"projectName": name, "projectType": "empty", **body}


def _can_listen(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API does
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens at and no other session of these tests uses."""
    for port in _PORTS:
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as listener:
            try:
                claim.bind(f"\0atelier-test-port-{port}")
                listener.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port
    raise AssertionError("no port is free")
