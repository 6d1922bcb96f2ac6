"""The API on playbooks whose plays and tasks all have one and the same title: nothing depends on a title."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.runner.adapter import Execution, Note, execute
from tests.api.running import Api, project_copy

ADMIN = {"X-Admin-Password": "canary-admin-Tq3"}
_TITLE = re.compile(r"(?m)^(\s*- name: ).*$")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The project with every title in its playbooks replaced by one and the same word."""
    made = project_copy(tmp_path)
    for path in (made / "playbooks").rglob("*.yml"):
        path.write_text(_TITLE.sub(r"\1Untitled", path.read_text()))
    assert "Untitled" in (made / "playbooks" / "workshop_collect.yml").read_text()
    return made


def test_every_job_still_reports_its_seats(own: Callable[..., Api], home: Path) -> None:
    api = own(workshop={"admin_password": ADMIN["X-Admin-Password"], "seat_passwords": "generate"})
    api.home = home
    api.start()
    base = api.create("Workshop", group="workshop")
    ids, job = api.clone(base["id"], 2)
    cloned = api.ended(job)
    assert (cloned["state"], cloned["progress"]) == ("successful", {"done": 2, "total": 2})
    assert [seat["status"] for seat in cloned["seats"]] == ["running", "running"]
    events = api.stream_so_far(job)
    assert {event["data"]["text"] for event in events if event["event"] == "task"} == {"Untitled"}
    assert any(event["event"] == "progress" for event in events)

    # The rehearsal's verdict: a no-go, since no gateway runs here.
    begun = api.post("/api/workshop/rehearse", {"seats": 1}, headers=ADMIN).json()["jobId"]
    assert api.ended(begun)["state"] == "successful"
    assert api.get("/api/workshop/rehearse", headers=ADMIN).json()["verdict"]["seats"] == 1

    # A seat that does not run is collected with a warning.
    assert api.post(f"/api/projects/{ids[1]}/stop").status_code == 200
    begun = api.post("/api/workshop/collect", headers=ADMIN).json()["jobId"]
    warnings = {seat["projectId"]: seat["warnings"] for seat in api.ended(begun)["seats"]}
    assert "is not running" in warnings[ids[1]][0]
    assert api.post(f"/api/projects/{ids[1]}/start").status_code == 200

    # What a release did to the files.
    taken = api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"}).json()["workspaceUrl"]
    (claimed,) = [id for id in ids if api.project(id)["workspaceUrl"] == taken]
    released = api.post(f"/api/workshop/claims/{claimed}/release", headers=ADMIN).json()
    assert (released["files"], released["keptContainer"] is not None) == ("reset", True)

    # A password that one seat of several does not get.
    broken = api.instance.container({"id": ids[0]})
    broken.exec_run(["/bin/mv", "/usr/local/bin/workspace-ide", "/usr/local/bin/gone"], user="root")
    cards = api.post("/api/workshop/cards", {"newPasswords": True}, headers=ADMIN).json()["cards"]
    errors = {card["projectId"]: card["error"] for card in cards}
    assert [id for id, error in errors.items() if error] == [ids[0]]
    jobs = [job for job in api.jobs() if job["operation"] == "password"]
    told = {seat["projectId"]: seat["error"] for job in jobs for seat in job["seats"] if job["state"] == "failed"}
    assert told[ids[0]] == errors[ids[0]]


def test_a_revival_still_reports_its_seats(own: Callable[..., Api], light: str, home: Path) -> None:
    api = own(image_prefix=light).start()
    made = api.create("asleep")
    api.kill()
    api.instance.container(made).stop(timeout=0)
    notes: list[Note] = []
    execution = Execution(
        id="0123456789ab",
        playbook=home / "playbooks" / "workspace_revive.yml",
        inventory=home / "api" / "runner" / "inventory.yml",
        variables={"workspace_ids": [made["id"]], "atelier_site": api.instance.site(), "atelier_ready_timeout": 60},
        deadline=120,
    )
    ended = execute(execution, notes.append, threading.Event())
    assert ended.state == "successful", ended
    seats: list[dict[str, Any]] = ended.results["workspace_revive"]["seats"]
    assert [(seat["id"], seat["started"], seat["error"]) for seat in seats] == [(made["id"], True, None)]
    assert Note("seats started again", 1, 1) in notes
