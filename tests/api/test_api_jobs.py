"""Jobs: seen while they run, canceled for good, in turn for one workspace and side by side for others."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from atelier.common.models import Quotas
from atelier.database import job_store as job_records
from atelier.database.job_store import Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore

from api.runner.adapter import Ended, Execution, execute
from tests.api.running import ENDED, SCRATCH, Api, executions, is_error
from tests.waiting import eventually

SEATS = 8


@pytest.fixture
def no_seats_left(api: Api, base: dict[str, Any]) -> Iterator[None]:
    """Takes the clones away that a test made."""
    yield
    api.wait_for_quiet()
    for project in api.get("/api/projects/").json()["projects"]:
        if project["clonedFrom"]:
            api.instance.forget(project)


def test_a_clone_while_it_runs(api: Api, base: dict[str, Any], no_seats_left: None) -> None:
    """Its progress shows, lists answer, and another workspace's stop does not wait for it."""
    other = api.create("not-in-line")
    ids, job_id = api.clone(base["id"], SEATS)
    progress: set[tuple[int, int]] = set()
    states: list[str] = []

    def look() -> None:
        while True:
            job = api.job(job_id)
            states.append(job["state"])
            progress.add((job["progress"]["done"], job["progress"]["total"]))
            shown = {project["id"]: project["status"] for project in api.get("/api/projects/").json()["projects"]}
            assert set(ids) <= shown.keys()
            assert {shown[id] for id in ids} <= {"creating", "running"}
            if job["state"] in ENDED:
                return

    with ThreadPoolExecutor(2) as pool:
        looking = pool.submit(look)
        streaming = pool.submit(api.events, job_id)
        # The clone can't end before the stop has.
        with api.instance.held(ids[-1]):
            assert api.post(f"/api/projects/{other['id']}/stop").status_code == 200
        looking.result(300)
        events = streaming.result(60)
    job = api.job(job_id)
    assert job["state"] == "successful", job
    assert {seat["status"] for seat in job["seats"]} == {"running"}
    stop = api.newest_job("stop")
    assert stop is not None
    assert stop["finishedAt"] < job["finishedAt"]
    # Some steps on the way, not only the last.
    assert (SEATS, SEATS) in progress
    assert len(progress) > 2, progress
    assert "running" in states
    seen = [event["data"] for event in events if event["event"] == "progress"]
    ready = [step["done"] for step in seen if step["text"] == "seats ready"]
    assert ready == list(range(1, SEATS + 1))
    assert events[-1]["event"] == "ended"
    assert events[-1]["data"]["state"] == "successful"
    api.delete(f"/api/projects/{other['id']}")
    resume_after_each(api, job_id, events)


def resume_after_each(api: Api, job_id: str, events: list[dict[str, Any]]) -> None:
    """A stream resumes after the reader's last event, without a gap or a repetition."""
    numbers = [int(event["id"]) for event in events]
    assert numbers == sorted(set(numbers))
    for place in (0, len(events) // 2, len(events) - 1):
        assert api.events(job_id, events[place]["id"]) == events[place + 1 :]
    assert api.events(job_id, "0") == events
    assert api.events(job_id, str(10**17)) == []


def test_a_canceled_clone_leaves_nothing_running(api: Api, base: dict[str, Any], no_seats_left: None) -> None:
    ids, job_id = api.clone(base["id"], SEATS)
    with api.instance.held(ids[-1]):
        queued_ids, queued = api.clone(base["id"], 2)
        # The second waits for the first: it ends at once, without having begun.
        assert api.post(f"/api/jobs/{queued}/cancel").status_code == 202
        ended = api.ended(queued)
        assert api.job(job_id)["state"] not in ENDED
        assert (ended["state"], ended["startedAt"]) == ("canceled", None)
        assert {(seat["projectId"], seat["status"]) for seat in ended["seats"]} == {(id, "error") for id in queued_ids}
        assert "canceled" in ended["seats"][0]["error"]

        for event in api.stream(job_id):
            if event["event"] == "progress" and event["data"]["text"] == "seats ready":
                break
        assert executions()
        answer = api.post(f"/api/jobs/{job_id}/cancel")
    assert answer.status_code == 202, answer.text
    job = api.ended(job_id)
    assert job["state"] == "canceled", job
    assert "canceled" in job["error"]
    assert [pid for pid, id in executions() if id == job_id] == []
    assert list(SCRATCH.glob(f"atelier-run-{job_id}-*")) == []

    seats = {seat["projectId"]: seat["status"] for seat in job["seats"]}
    assert seats.keys() == set(ids)
    assert set(seats.values()) == {"running", "error"}
    containers = {container.name: container.status for container in api.instance.containers()}
    for id, status in seats.items():
        name, volume = api.instance.container_name({"id": id}), api.instance.volume_name({"id": id})
        assert (containers.get(name), volume in api.instance.volumes()) == (
            ("running", True) if status == "running" else (None, False)
        )
        assert api.status(id) == status
    assert containers[api.instance.container_name(base)] == "running"
    assert api.instance.snapshot_tags() == []
    assert list((api.instance.state / "snapshots").iterdir()) == []
    is_error(api.post(f"/api/jobs/{job_id}/cancel"), 409, "WORKSPACE_BUSY", "jobId")
    # What was ready works, what was not can be deleted, and the source can be cloned again.
    failed = next(id for id, status in seats.items() if status == "error")
    assert api.delete(f"/api/projects/{failed}").status_code == 200
    _, again = api.clone(base["id"], 1)
    assert api.ended(again)["state"] == "successful"


def test_a_canceled_create(api: Api) -> None:
    id, job_id = api.begin("never-mind")
    with api.instance.held(id):
        for event in api.stream(job_id):
            if event["event"] == "task":
                break
        assert api.post(f"/api/jobs/{job_id}/cancel").status_code == 202
    assert api.ended(job_id)["state"] == "canceled"
    assert api.status(id) == "error"
    assert api.instance.volume_name({"id": id}) not in api.instance.volumes()
    assert [pid for pid, execution in executions() if execution == job_id] == []
    assert api.delete(f"/api/projects/{id}").status_code == 200


def test_a_seat_that_is_deleted_while_its_clone_waits(api: Api, base: dict[str, Any], no_seats_left: None) -> None:
    """The others are created nevertheless, and it does not reappear."""
    _, first = api.clone(base["id"], 2)
    ids, second = api.clone(base["id"], 2)
    assert api.delete(f"/api/projects/{ids[0]}").status_code == 200
    job = api.ended(second)
    assert job["state"] == "successful", job
    assert [seat["status"] for seat in job["seats"]] == ["deleted", "running"]
    assert api.status(ids[0]) == "absent"
    assert api.ended(first)["state"] == "successful"


def test_operations_on_one_workspace_take_turns(api: Api) -> None:
    made = api.create("in-demand")
    path = f"/api/projects/{made['id']}"
    calls: list[Callable[[], Any]] = [
        lambda: api.post(f"{path}/stop"),
        lambda: api.post(f"{path}/start"),
        lambda: api.put(f"{path}/password", {"newPassword": "first-password-1"}),
        lambda: api.put(f"{path}/notes", {"notes": "n"}),
        lambda: api.post(f"{path}/stop"),
        lambda: api.put(f"{path}/name", {"name": "in demand"}),
        lambda: api.put(f"{path}/group", {"group": "g"}),
        lambda: api.post(f"{path}/start"),
        lambda: api.get(f"{path}/disk-usage"),
        lambda: api.get(path),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda call: call(), calls))
    # A stop that comes after the password change is refused; nothing else is.
    assert {answer.status_code for answer in answers} <= {200, 401}, [answer.text for answer in answers]
    jobs = sorted((job for job in api.jobs() if job["projectIds"] == [made["id"]]), key=lambda job: job["startedAt"])
    for before, after in pairwise(jobs):
        assert before["finishedAt"] <= after["startedAt"], (before, after)
    project = api.project(made["id"])
    row = api.instance.row("in demand")
    container = api.instance.container(made).status
    assert (project["status"], container) in {("running", "running"), ("stopped", "exited")}
    assert (row["status"], row["notes"], row["group_name"]) == (project["status"], "n", "g")
    assert project["passwordProtected"]
    config = api.instance.read(made, "/etc/code-server/config.yaml").decode()
    assert row["password_hash"] in config
    assert api.delete(path, {"password": "first-password-1"}).status_code == 200


# --- The record, without the API --------------------------------------------------------------------------------------


def test_old_jobs_are_dropped_with_their_events_but_no_open_one(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(job_records, "KEPT_JOBS", 5)
    quotas = Quotas(1, 1, False, 1, 1)
    with WorkspaceStore(tmp_path, {}, quotas) as store:
        jobs = Jobs(store)
        waiting = jobs.create("clone", ["a"], {}, "somebody")
        made = [jobs.create("stop", [str(number)], {}, "somebody") for number in range(12)]
        for job in made:
            jobs.add_event(job.id, "task", {})
            jobs.finish(job.id, JobState.SUCCESSFUL)
        last = jobs.create("start", ["x"], {}, "somebody")
        kept = [job.id for job in jobs.all()]
        assert kept == [last.id, *(job.id for job in reversed(made[-4:])), waiting.id]
        # Oldest first, also where several were asked for within a millisecond.
        assert [job.id for job in jobs.unfinished()] == [waiting.id, last.id]
        with store.reading() as db:
            events = {row[0] for row in db.execute("SELECT job_id FROM job_events")}
        assert events == {job.id for job in made[-4:]}


# --- One execution, without the API ---------------------------------------------------------------------------------

STUBBORN = "trap '' TERM; setsid sleep 321 & while :; do sleep 1; done"


def execution_id(tmp_path: Path) -> str:
    return f"test-{tmp_path.parent.name}-{tmp_path.name}"


def run(tmp_path: Path, command: str, deadline: float, canceled: threading.Event, begun: threading.Event) -> Ended:
    task = {"name": "Work", "ansible.builtin.command": {"argv": ["bash", "-c", command]}}
    playbook = tmp_path / "playbooks" / "work.yml"
    playbook.parent.mkdir()
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    inventory = tmp_path / "inventory.yml"
    variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory.write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))
    execution = Execution(execution_id(tmp_path), playbook, inventory, {}, deadline)
    ended = execute(execution, lambda note: begun.set(), canceled)
    assert [pid for pid, id in executions() if id == execution.id] == []
    assert list(SCRATCH.glob(f"atelier-run-{execution.id}-*")) == []
    return ended


def test_the_deadline_ends_every_process(tmp_path: Path) -> None:
    ended = run(tmp_path, STUBBORN, 4, threading.Event(), threading.Event())
    assert ended.state == "error"
    assert "longer than 4 seconds" in str(ended.error)


def test_cancellation_ends_every_process(tmp_path: Path) -> None:
    canceled, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, tmp_path, STUBBORN, 600, canceled, begun)
        id = execution_id(tmp_path)
        try:
            eventually(lambda: any(execution == id and is_sleep(pid) for pid, execution in executions()), "it sleeps")
        finally:
            canceled.set()
        assert running.result(60).state == "canceled"


def test_what_can_not_run_says_why(tmp_path: Path) -> None:
    ended = run(tmp_path, "echo what went wrong >&2; exit 3", 60, threading.Event(), threading.Event())
    assert ended.state == "failed"
    (tmp_path / "playbooks" / "work.yml").unlink()
    (tmp_path / "playbooks").rmdir()
    execution = Execution("test-missing", tmp_path / "none.yml", tmp_path / "inventory.yml", {}, 60)
    ended = execute(execution, lambda note: None, threading.Event())
    assert ended.state == "error"
    assert "none.yml" in str(ended.error)


def is_sleep(pid: int) -> bool:
    try:
        return b"321" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False
