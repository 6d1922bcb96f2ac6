"""The API is killed with SIGKILL at critical moments and restarted: requested work is done, nothing incomplete is
left."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

import httpx
import pytest

from tests.api.running import ENDED, SCRATCH, Api, executions
from tests.module.installation import asks_for_password, is_healthy, login
from tests.waiting import eventually

OLD, NEW = "old-password-1", "new-password-2"
# Maximum repetitions if the work was done before the crash.
TRIES = 5

Moment = Callable[[Api, str], object]


def at_once(api: Api, job: str) -> bool:
    """Right after the job was written down."""
    return True


def task_began(api: Api, job: str) -> object:
    """The playbook's module is at work."""
    return api.instance.query("SELECT 1 FROM job_events WHERE job_id = ? AND kind = 'task'", job)


def step_done(text: str) -> Moment:
    """The module has told of this step."""
    sql = "SELECT 1 FROM job_events WHERE job_id = ? AND kind = 'progress' AND data LIKE ?"
    return lambda api, job: api.instance.query(sql, job, f"%{text}%")


def container_runs(api: Api, job: str) -> bool:
    """The job's container has begun; its IDE does not answer yet, or the module does not know."""
    (row,) = api.instance.query("SELECT project_ids FROM jobs WHERE id = ?", job)
    (id,) = json.loads(row["project_ids"])
    return bool(api.instance.docker.containers.list(filters={"name": api.instance.container_name({"id": id})}))


def snapshot_is_there(api: Api, job: str) -> object:
    return api.instance.snapshot_tags()


def crash_in(api: Api, ask: Callable[[], str], moment: Moment, undo: Callable[[], object] = lambda: None) -> str:
    """
    Asks for work, and crashes the API at that moment of it: the work's job.

    Nothing holds the work up, so it may be done when the crash comes; then it is undone and asked for again.
    """
    for _ in range(TRIES):
        job = ask()
        eventually(lambda job=job: moment(api, job) or api.has_ended(job), "the moment to crash")  # type: ignore[misc]
        api.kill()
        too_late = api.has_ended(job)
        api.start()
        api.wait_for_quiet()
        ids = {job["id"] for job in api.jobs()}
        assert [pid for pid, id in executions() if id in ids] == []
        assert [folder for id in ids for folder in SCRATCH.glob(f"atelier-run-{id}-*")] == []
        if not too_late:
            return job
        undo()
    pytest.fail(f"The work was done before the crash, {TRIES} times.")


def was_taken_up(api: Api, job_id: str) -> dict[str, Any]:
    job = api.job(job_id)
    assert job["state"] in ENDED
    kinds = [event["event"] for event in api.events(job_id)]
    assert "resumed" in kinds, kinds
    assert kinds[-1] == "ended"
    return job


def asked(api: Api, operation: str, call: Callable[[], Any]) -> str:
    """Makes a request whose answer a crash takes away: the id of its job, once that is written down."""

    def send() -> None:
        try:
            call()
        except httpx.TransportError:
            return

    sql = "SELECT id FROM jobs WHERE operation = ? ORDER BY rowid"
    before = len(api.instance.query(sql, operation))
    threading.Thread(target=send, daemon=True).start()
    rows = eventually(lambda: api.instance.query(sql, operation)[before:], f"a {operation} is written down")
    return str(rows[0]["id"])


@pytest.mark.parametrize(
    "moment",
    [at_once, task_began, step_done("starting"), container_runs],
    ids=["after the 202", "task", "container", "IDE"],
)
def test_create(own: Callable[..., Api], moment: Moment) -> None:
    api, ids = own().start(), []

    def begin() -> str:
        id, job = api.begin(f"wanted-{len(ids)}", passwordProtected=True, password=OLD)
        ids.append(id)
        return job

    job = crash_in(api, begin, moment)
    assert was_taken_up(api, job)["state"] == "successful"
    assert [api.status(id) for id in ids] == ["running"] * len(ids)
    names = [f"wanted-{number}" for number in range(len(ids))]
    address = api.instance.row(names[-1])["address"]
    assert is_healthy(address)
    assert login(address, OLD)
    api.instance.is_tidy(names)


def test_clone_at_every_stage(own: Callable[..., Api], light: str) -> None:
    """One installation, killed again and again: right after the 202, in the snapshot, and between the seats."""
    api = own(image_prefix=light).start()
    base = api.create("base")
    seats: list[str] = []

    def begin() -> str:
        ids, job = api.clone(base["id"], 2)
        seats.extend(ids)
        return job

    for moment in (at_once, task_began, step_done("snapshot"), snapshot_is_there, step_done("seats ready")):
        ended = was_taken_up(api, crash_in(api, begin, moment))
        assert ended["state"] == "successful", ended
        assert [seat["status"] for seat in ended["seats"]] == ["running"] * 2
        addresses = {row["id"]: row["address"] for row in api.instance.rows()}
        assert all(is_healthy(addresses[id]) for id in seats)
        assert api.instance.container(base).status == "running"
        api.instance.is_tidy(["base", *(f"base {number}" for number in range(1, len(seats) + 1))])


@pytest.fixture
def running(own: Callable[..., Api]) -> tuple[Api, dict[str, Any]]:
    api = own().start()
    return api, api.create("subject")


def test_stop_and_start(running: tuple[Api, dict[str, Any]]) -> None:
    api, made = running

    def call(operation: str) -> httpx.Response:
        return api.post(f"/api/projects/{made['id']}/{operation}")

    for operation, moment, status, opposite in (
        ("stop", task_began, "stopped", "start"),
        ("start", task_began, "running", "stop"),
        ("stop", at_once, "stopped", "start"),
        ("start", container_runs, "running", "stop"),
    ):
        job = crash_in(
            api,
            partial(asked, api, operation, partial(call, operation)),
            moment,
            undo=partial(call, opposite),
        )
        assert was_taken_up(api, job)["state"] == "successful"
        assert api.status(made["id"]) == status
        api.instance.is_tidy(["subject"])


def unwritten_end(api: Api, job: str) -> None:
    """Makes a job look as if its end could not be written before the API was killed."""
    with closing(sqlite3.connect(api.instance.state / "registry.sqlite3")) as db, db:
        db.execute("UPDATE jobs SET state = 'running', finished_at = NULL WHERE id = ?", (job,))
        db.execute("DELETE FROM job_events WHERE job_id = ? AND kind = 'ended'", (job,))


def test_jobs_of_yesterday_do_nothing_to_a_seat_in_use(running: tuple[Api, dict[str, Any]]) -> None:
    api, made = running
    path = f"/api/projects/{made['id']}"
    stop = asked(api, "stop", lambda: api.post(f"{path}/stop"))
    assert api.ended(stop)["state"] == "successful"
    assert api.post(f"{path}/start").status_code == 200
    password = asked(api, "password", lambda: api.put(f"{path}/password", {"newPassword": OLD}))
    assert api.ended(password)["state"] == "successful"
    answer = api.put(f"{path}/password", {"newPassword": NEW, "currentPassword": OLD})
    assert answer.status_code == 200, answer.text
    api.kill()
    for job in (stop, password):
        unwritten_end(api, job)
    api.start()
    for job in (stop, password):
        ended = api.ended(job)
        assert ended["state"] == "canceled"
        assert "since" in ended["error"]
    assert api.status(made["id"]) == "running"
    address = api.instance.row("subject")["address"]
    assert login(address, NEW)
    api.instance.is_tidy(["subject"])


@pytest.mark.parametrize("moment", [at_once, task_began])
def test_password(running: tuple[Api, dict[str, Any]], moment: Moment) -> None:
    api, made = running

    def put(password: str) -> httpx.Response:
        return api.put(f"/api/projects/{made['id']}/password", {"newPassword": password})

    job = crash_in(api, lambda: asked(api, "password", lambda: put(NEW)), moment, undo=lambda: put(OLD))
    assert was_taken_up(api, job)["state"] == "successful"
    address = api.instance.row("subject")["address"]
    assert asks_for_password(address)
    assert login(address, NEW)
    assert api.project(made["id"])["passwordProtected"]
    api.instance.is_tidy(["subject"])


@pytest.mark.parametrize("moment", [at_once, task_began])
def test_delete(own: Callable[..., Api], light: str, moment: Moment) -> None:
    api = own(image_prefix=light).start()
    made: list[dict[str, Any]] = []

    def begin() -> str:
        made.append(api.create("subject"))
        return asked(api, "delete", lambda: api.delete(f"/api/projects/{made[-1]['id']}"))

    job = crash_in(api, begin, moment)
    assert was_taken_up(api, job)["state"] == "successful"
    assert api.status(made[-1]["id"]) == "absent"
    api.instance.is_tidy([])


def test_what_is_asked_after_the_crash_comes_after_what_was_asked_before(
    running: tuple[Api, dict[str, Any]],
) -> None:
    api, made = running
    first = asked(api, "stop", lambda: api.post(f"/api/projects/{made['id']}/stop"))
    api.kill()
    api.start()
    # The stop is being taken up; the start must not overtake it.
    assert api.delete(f"/api/projects/{made['id']}").status_code == 200
    api.wait_for_quiet()
    delete = api.newest_job("delete")
    assert delete is not None
    stop = api.job(first)
    assert (stop["state"], delete["state"]) == ("successful", "successful")
    assert stop["finishedAt"] <= delete["startedAt"]
    api.instance.is_tidy([])


def test_a_job_that_was_being_canceled_is_not_run_again(own: Callable[..., Api], light: str) -> None:
    api = own(image_prefix=light).start()
    base = api.create("base")
    ids, job = api.clone(base["id"], 3)
    eventually(lambda: task_began(api, job), "the task begins")
    assert api.post(f"/api/jobs/{job}/cancel").status_code == 202
    api.kill()
    api.start()
    ended = api.ended(job)
    assert ended["state"] in ("canceled", "successful")
    assert {api.status(id) for id in ids} <= {"running", "error"}
    api.wait_for_quiet()
    assert api.instance.snapshot_tags() == []
    for id in ids:
        if api.status(id) == "error":
            assert api.instance.volume_name({"id": id}) not in api.instance.volumes()


def test_going_down_in_good_order(own: Callable[..., Api], light: str) -> None:
    """SIGTERM in the middle of a clone, with somebody at its event stream: no process is left, and it is taken up."""
    api = own(image_prefix=light).start()
    base = api.create("base")
    ids, job = api.clone(base["id"], 3)
    with api.instance.held(ids[-1]):
        eventually(lambda: task_began(api, job), "the task begins")
        streaming = api.stream(job)
        next(streaming)
        begin = time.monotonic()
        api.terminate()
        api.wait()
        # Far below the deadline of a run and the pause between two pings of a stream.
        assert time.monotonic() - begin < 14
    assert [pid for pid, execution in executions() if execution == job] == []
    assert list(SCRATCH.glob(f"atelier-run-{job}-*")) == []
    assert not api.has_ended(job)
    api.start()
    api.ended(job)
    assert was_taken_up(api, job)["state"] == "successful"
    assert [api.status(id) for id in ids] == ["running"] * 3
    api.instance.is_tidy(["base", "base 1", "base 2", "base 3"])


def new_container_is_there(api: Api, job: str) -> object:
    return [found for found in api.instance.containers() if found.name.endswith("-new")]


def seat_is_down(api: Api, job: str) -> object:
    """Its container was stopped or moved aside; the new one is not in its place."""
    return [found for found in api.instance.containers() if found.status == "exited"]


def source_is_paused(api: Api, job: str) -> object:
    return [found for found in api.instance.containers() if found.status == "paused"]


@pytest.mark.parametrize(
    ("operation", "path", "moment"),
    [
        ("reset", "reset", new_container_is_there),
        ("reset", "reset", seat_is_down),
        ("checkpoint", "checkpoint", source_is_paused),
    ],
    ids=["reset: the new one is made", "reset: the old one is stopped", "checkpoint: paused"],
)
def test_a_playbook_that_is_killed_leaves_nothing(
    running: tuple[Api, dict[str, Any]], operation: str, path: str, moment: Moment
) -> None:
    """The seat runs as before, automatically, and nothing incomplete is left."""
    api, made = running
    url = f"/api/projects/{made['id']}/{path}"
    for _ in range(TRIES):
        job = asked(api, operation, lambda: api.post(url))
        eventually(lambda job=job: moment(api, job) or api.has_ended(job), "the moment to kill")  # type: ignore[misc]
        for pid in [pid for pid, id in executions() if id == job]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if api.ended(job)["state"] == "error":
            break
    else:
        pytest.fail(f"The work was done before the kill, {TRIES} times.")
    alone = {api.instance.container_name(made): "running"}

    def left() -> dict[str, str]:
        return {found.name: found.status for found in api.instance.containers() if "-kept-" not in found.name}

    eventually(lambda: left() == alone, "nothing but the seat, which runs")
    eventually(lambda: is_healthy(api.instance.row("subject")["address"]), "its IDE answers")
    eventually(lambda: api.status(made["id"]) == "running", "it is shown as it is")
