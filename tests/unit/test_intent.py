"""What should run, apart from what was seen; and which interrupted jobs are repeated after a crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from atelier.common.models import Status
from atelier.database.intent import present, stopped_on_purpose, to_stay_stopped, wanted_up
from atelier.database.job_store import Job, Jobs, JobState
from atelier.database.migrations import _MIGRATIONS
from atelier.database.workspace_store import Registry
from support import NETWORKS, ROOMY, order

from api.background.recovery import still_wanted
from api.runner.operations import HASHES


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path, NETWORKS, ROOMY) as opened:
        yield opened


@pytest.fixture
def seat(registry: Registry) -> str:
    (made,) = registry.reserve([order("seat", password_hash="first")])
    registry.update(made.id, status=Status.RUNNING)
    return made.id


def test_what_an_outage_stopped_is_still_wanted(registry: Registry, seat: str) -> None:
    registry.observe(registry.get(id=seat), Status.STOPPED, None)
    assert registry.get(id=seat).status is Status.STOPPED
    assert wanted_up(registry) == {seat}


def test_what_was_stopped_on_purpose_is_not_wanted_until_it_is_started(registry: Registry, seat: str) -> None:
    stopped_on_purpose(registry, seat)
    assert wanted_up(registry) == set()
    registry.claim_running_slot(seat)
    assert wanted_up(registry) == {seat}
    # By hand, behind Atelier's back.
    registry.observe(registry.get(id=seat), Status.STOPPED, None)
    to_stay_stopped(registry, seat)
    assert wanted_up(registry) == set()
    registry.observe(registry.get(id=seat), Status.RUNNING, None)
    assert wanted_up(registry) == {seat}


def test_a_registry_of_before_keeps_stopped_seats_stopped(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "registry.sqlite3", isolation_level=None) as db:
        for statements in _MIGRATIONS[:5]:
            for statement in statements:
                db.execute(statement)
        db.execute("PRAGMA user_version = 5")
        for number, status in enumerate(("running", "stopped", "error")):
            db.execute(
                "INSERT INTO workspaces (id, name, template, status, address, created_at, last_activity, memory, cpus,"
                " proxy_mode, notes, owner) VALUES (?, ?, 'empty', ?, ?, '', '', '2g', '2', 'none', '', 'default')",
                (f"{number:012}", status, status, f"10.9.0.{number + 20}"),
            )
    with Registry(tmp_path, NETWORKS, ROOMY) as registry:
        assert {registry.get(id=id).name for id in wanted_up(registry)} == {"running", "error"}


def test_a_stop_of_what_an_outage_stopped_is_for_good(registry: Registry, seat: str) -> None:
    registry.observe(registry.get(id=seat), Status.STOPPED, None)
    to_stay_stopped(registry, seat)
    assert wanted_up(registry) == set()
    (counted,) = present(registry, [seat]).values()
    to_stay_stopped(registry, seat)
    assert present(registry, [seat])[seat] == counted  # once is enough


# --- Jobs after a crash ---------------------------------------------------------------------------------------------


def taken_up(registry: Registry, job: Job) -> tuple[Job, str]:
    """What is left of the job, and the state that it ends in without being run; "run" where it is."""
    jobs = Jobs(registry)
    left, outcome = still_wanted(jobs.get(job.id), present(registry, job.project_ids), jobs.later(job))
    return left, outcome.state if outcome else "run"


def stop_and_start(registry: Registry, id: str) -> None:
    stopped_on_purpose(registry, id)
    registry.claim_running_slot(id)


@pytest.mark.parametrize(
    ("operation", "since", "state"),
    [
        ("stop", lambda registry, id: None, "run"),
        # It was done, only its end was not written: once more does no harm.
        ("stop", stopped_on_purpose, "run"),
        # In use today.
        ("stop", stop_and_start, "canceled"),
        # What Docker did is nobody's decision.
        ("stop", lambda registry, id: registry.observe(registry.get(id=id), Status.STOPPED, None), "run"),
        ("start", lambda registry, id: None, "run"),
        ("start", stopped_on_purpose, "canceled"),
        ("reset", stop_and_start, "run"),
    ],
)
def test_a_stop_of_yesterday_does_not_stop_a_seat_in_use(
    registry: Registry, seat: str, operation: str, since: Callable[[Registry, str], None], state: str
) -> None:
    job = Jobs(registry).create(operation, [seat], {}, "somebody")
    since(registry, seat)
    assert taken_up(registry, job)[1] == state


@pytest.mark.parametrize(
    ("present_hash", "state"), [("first", "run"), ("wanted", "successful"), ("newer", "canceled"), (None, "canceled")]
)
def test_yesterdays_password_is_not_set_over_a_newer_one(
    registry: Registry, seat: str, present_hash: str | None, state: str
) -> None:
    job = Jobs(registry).create("password", [seat], {"workspace_password_hash": "wanted"}, "somebody")
    registry.update(seat, password_hash=present_hash)
    assert taken_up(registry, job)[1] == state


def test_of_several_passwords_only_those_that_nobody_changed_are_set(registry: Registry, seat: str) -> None:
    (other,) = registry.reserve([order("other", password_hash="first")])
    hashes = {seat: "wanted", other.id: "wanted"}
    job = Jobs(registry).create("password", list(hashes), {HASHES: hashes}, "somebody")
    registry.update(seat, password_hash="newer")
    left, state = taken_up(registry, job)
    assert (state, left.variables) == ("run", {HASHES: {other.id: "wanted"}})


@pytest.mark.parametrize(
    ("mine", "later", "state"),
    [("exact", "exact", "canceled"), ("present", "exact", "canceled"), ("present", "present", "run")],
)
def test_a_later_whitelist_is_not_overwritten(registry: Registry, mine: str, later: str, state: str) -> None:
    jobs = Jobs(registry)

    def ordered(how: str) -> Job:
        variables: dict[str, Any] = {"whitelist_domains": ["a.example"], "whitelist_state": how, "whitelist_group": ""}
        return jobs.create("whitelist", [], variables, "somebody")

    job = ordered(mine)
    jobs.finish(ordered(later).id, JobState.SUCCESSFUL)
    assert taken_up(registry, job)[1] == state


def test_the_order_of_jobs_is_their_sequence(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(registry)
    first = jobs.create("start", [], {}, "somebody")
    monkeypatch.setattr("atelier.database.job_store.now", lambda: "2001-01-01T00:00:00.000Z")  # the clock was set back
    second = jobs.create("stop", [], {}, "somebody")
    assert [job.id for job in jobs.unfinished()] == [first.id, second.id]
    assert [job.id for job in jobs.later(first)] == [second.id]


def test_a_job_ends_once(registry: Registry) -> None:
    jobs = Jobs(registry)
    job = jobs.create("start", [], {}, "somebody")
    jobs.finish(job.id, JobState.SUCCESSFUL)
    jobs.finish(job.id, JobState.ERROR, "again")
    assert jobs.get(job.id).state is JobState.SUCCESSFUL
    assert [event.kind for event in jobs.events(job.id)] == ["ended"]
