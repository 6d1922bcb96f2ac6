"""The API is killed -9 at awkward moments and started again: what was asked for is done, nothing is left half-made."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.running import ENDED, SCRATCH, Api, eventually, executions
from tests.module.installation import asks_for_password, is_healthy, login

OLD, NEW = "old-password-1", "new-password-2"


def task_began(api: Api, job_id: str) -> None:
    """Waits until the playbook's module is at work."""
    sql = "SELECT 1 FROM job_events WHERE job_id = ? AND kind = 'task'"
    eventually(lambda: api.instance.query(sql, job_id), "the task begins")


def step_done(api: Api, job_id: str, text: str) -> None:
    sql = "SELECT 1 FROM job_events WHERE job_id = ? AND kind = 'progress' AND data LIKE ?"
    eventually(lambda: api.instance.query(sql, job_id, f"%{text}%"), text)


def nothing(api: Api, job_id: str) -> None:
    """Right after the job was written down."""


def crash_and_start(api: Api) -> None:
    api.kill()
    api.start()
    api.wait_for_quiet()
    ids = {job["id"] for job in api.jobs()}
    assert [pid for pid, id in executions() if id in ids] == []
    assert [folder for id in ids for folder in SCRATCH.glob(f"atelier-run-{id}-*")] == []


def was_taken_up(api: Api, job_id: str) -> dict[str, Any]:
    job = api.job(job_id)
    assert job["state"] in ENDED
    kinds = [event["event"] for event in api.events(job_id)]
    assert "resumed" in kinds, kinds
    assert kinds[-1] == "ended"
    return job


def job_of(api: Api, operation: str) -> str:
    """The id of the newest job of that kind, once there is one."""
    sql = "SELECT id FROM jobs WHERE operation = ? ORDER BY rowid DESC LIMIT 1"
    rows = eventually(lambda: api.instance.query(sql, operation), f"a {operation} is written down")
    return str(rows[0]["id"])


def ask(call: Callable[[], Any]) -> None:
    """Makes a request whose answer a crash takes away."""
    import threading

    import httpx

    def send() -> None:
        try:
            call()
        except httpx.TransportError:
            return

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize(
    ("moment", "later"),
    [
        (nothing, 0.0),
        (task_began, 0.6),
        (lambda api, job: step_done(api, job, "starting"), 0.0),
        (lambda api, job: step_done(api, job, "starting"), 0.3),
    ],
    ids=["after the 202", "task", "container", "IDE"],
)
def test_create(own: Callable[..., Api], moment: Callable[[Api, str], None], later: float) -> None:
    api = own().start()
    id, job = api.begin("wanted", passwordProtected=True, password=OLD)
    moment(api, job)
    time.sleep(later)
    crash_and_start(api)
    assert was_taken_up(api, job)["state"] == "successful"
    assert api.status(id) == "running"
    address = api.instance.row("wanted")["address"]
    assert is_healthy(address)
    assert login(address, OLD)
    api.instance.is_tidy(["wanted"])


def test_clone_at_every_stage(own: Callable[..., Api]) -> None:
    """One installation, killed again and again: right after the 202, in the snapshot, and between the seats."""
    api = own().start()
    base = api.create("base")
    names = ["base"]
    moments: list[Callable[[Api, str], None]] = [
        nothing,
        task_began,
        lambda api, job: step_done(api, job, "snapshot"),
        lambda api, job: eventually(lambda: api.instance.snapshot_tags(), "the snapshot is there"),
        lambda api, job: step_done(api, job, "seats ready"),
    ]
    for number, moment in enumerate(moments):
        ids, job = api.clone(base["id"], 2)
        moment(api, job)
        crash_and_start(api)
        ended = was_taken_up(api, job)
        assert ended["state"] == "successful", (number, ended)
        assert [seat["status"] for seat in ended["seats"]] == ["running"] * 2
        for id in ids:
            assert is_healthy(next(row["address"] for row in api.instance.rows() if row["id"] == id))
        assert api.instance.container(base).status == "running"
        names += [f"base {2 * number + seat}" for seat in (1, 2)]
        api.instance.is_tidy(names)


@pytest.fixture
def running(own: Callable[..., Api]) -> tuple[Api, dict[str, Any]]:
    api = own().start()
    return api, api.create("subject")


def test_stop_and_start(running: tuple[Api, dict[str, Any]]) -> None:
    api, made = running
    for operation, status, later in (("stop", "stopped", 0.0), ("start", "running", 0.4)):
        ask(lambda operation=operation: api.post(f"/api/projects/{made['id']}/{operation}"))  # type: ignore[misc]
        job = job_of(api, operation)
        task_began(api, job)
        time.sleep(later)
        crash_and_start(api)
        assert was_taken_up(api, job)["state"] == "successful"
        assert api.status(made["id"]) == status
        api.instance.is_tidy(["subject"])


@pytest.mark.parametrize("moment", [nothing, task_began])
def test_password(running: tuple[Api, dict[str, Any]], moment: Callable[[Api, str], None]) -> None:
    api, made = running
    ask(lambda: api.put(f"/api/projects/{made['id']}/password", {"newPassword": NEW}))
    job = job_of(api, "password")
    moment(api, job)
    crash_and_start(api)
    assert was_taken_up(api, job)["state"] == "successful"
    address = api.instance.row("subject")["address"]
    assert asks_for_password(address)
    assert login(address, NEW)
    assert api.project(made["id"])["passwordProtected"]
    api.instance.is_tidy(["subject"])


@pytest.mark.parametrize("moment", [nothing, task_began])
def test_delete(running: tuple[Api, dict[str, Any]], moment: Callable[[Api, str], None]) -> None:
    api, made = running
    ask(lambda: api.delete(f"/api/projects/{made['id']}"))
    job = job_of(api, "delete")
    moment(api, job)
    crash_and_start(api)
    assert was_taken_up(api, job)["state"] == "successful"
    assert api.status(made["id"]) == "absent"
    api.instance.is_tidy([])


def test_what_is_asked_after_the_crash_comes_after_what_was_asked_before(
    running: tuple[Api, dict[str, Any]],
) -> None:
    api, made = running
    ask(lambda: api.post(f"/api/projects/{made['id']}/stop"))
    first = job_of(api, "stop")
    api.kill()
    api.start()
    # The stop is being taken up; the start must not overtake it.
    assert api.delete(f"/api/projects/{made['id']}").status_code == 200
    api.wait_for_quiet()
    stop, delete = api.job(first), api.job(job_of(api, "delete"))
    assert (stop["state"], delete["state"]) == ("successful", "successful")
    assert stop["finishedAt"] <= delete["startedAt"]
    api.instance.is_tidy([])


def test_a_job_that_was_being_canceled_is_not_run_again(own: Callable[..., Api]) -> None:
    api = own().start()
    base = api.create("base")
    ids, job = api.clone(base["id"], 3)
    task_began(api, job)
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
            assert api.instance.container_name({"id": id}) not in api.instance.volumes()


def test_going_down_in_good_order(own: Callable[..., Api]) -> None:
    """SIGTERM in the middle of a create, with somebody at its event stream: no process is left, and it is taken up."""
    api = own().start()
    id, job = api.begin("wanted")
    task_began(api, job)
    streaming = api.stream(job)
    next(streaming)
    begin = time.monotonic()
    api.terminate()
    api.wait()
    # Far below the deadline of a run and the pause between two pings of a stream.
    assert time.monotonic() - begin < 14
    assert [pid for pid, execution in executions() if execution == job] == []
    assert list(SCRATCH.glob(f"atelier-run-{job}-*")) == []
    assert api.instance.query("SELECT state FROM jobs WHERE id = ?", job)[0]["state"] == "running"
    api.start()
    assert was_taken_up_in_the_end(api, job) == "successful"
    assert api.status(id) == "running"
    api.instance.is_tidy(["wanted"])


def was_taken_up_in_the_end(api: Api, job: str) -> str:
    api.ended(job)
    return str(was_taken_up(api, job)["state"])
