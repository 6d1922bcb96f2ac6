"""The desired state, separate from the observed one; and the interrupted jobs that are repeated after a crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from atelier.common.models import Status, StopReason
from atelier.database.claims import Claims, Participant
from atelier.database.intent import (
    back_to_sleep,
    present,
    sleepers,
    stopped_on_purpose,
    to_stay_stopped,
    wake,
    wanted_up,
)
from atelier.database.job_store import Job, Jobs, JobState
from atelier.database.migrations import _MIGRATIONS
from atelier.database.workspace_store import WorkspaceStore
from support import NETWORKS, ROOMY, order

from api.background.recovery import still_wanted
from api.runner.operations import HASHES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as opened:
        yield opened


@pytest.fixture
def seat(store: WorkspaceStore) -> str:
    (made,) = store.reserve([order("seat", password_hash="first")])
    store.update(made.id, status=Status.RUNNING)
    return made.id


def test_what_an_outage_stopped_is_still_wanted(store: WorkspaceStore, seat: str) -> None:
    store.observe(store.get(id=seat), Status.STOPPED, None)
    assert store.get(id=seat).status is Status.STOPPED
    assert wanted_up(store) == {seat}


@pytest.mark.parametrize("error", ["A sentence of 0.1.0.", '{"id": "of_another_version", "params": {"why": "x"}}'])
def test_a_seat_with_another_version_s_error_runs_again(store: WorkspaceStore, seat: str, error: str) -> None:
    with store.transaction() as db:
        db.execute("UPDATE workspaces SET status = 'error', error = ?", (error,))
    store.observe(store.get(id=seat), Status.RUNNING, None)
    assert store.get(id=seat).status is Status.RUNNING


def test_nobody_gets_a_seat_whose_release_failed_whatever_happens_to_it(store: WorkspaceStore, seat: str) -> None:
    store.update(seat, name="seat 1", unreleased="Docker is away.")
    claims = Claims(store, "seat", wakes=["end"])
    for change in (
        lambda: stopped_on_purpose(store, seat, StopReason.END),
        lambda: store.claim_running_slot(seat),
        lambda: store.observe(store.get(id=seat), Status.ERROR, "It ends again and again."),
        lambda: store.update(seat, status=Status.RUNNING, error=None),
    ):
        change()
        assert not claims.claim([Participant("A", "a@example.org")])[0].claim
        assert claims.occupancy().available == 0
    store.update(seat, unreleased=None)
    assert claims.claim([Participant("A", "a@example.org")])[0].claim


def test_what_was_stopped_on_purpose_is_not_wanted_until_it_is_started(store: WorkspaceStore, seat: str) -> None:
    stopped_on_purpose(store, seat)
    assert wanted_up(store) == set()
    store.claim_running_slot(seat)
    assert wanted_up(store) == {seat}
    # By hand, behind Atelier's back.
    store.observe(store.get(id=seat), Status.STOPPED, None)
    to_stay_stopped(store, seat)
    assert wanted_up(store) == set()
    store.observe(store.get(id=seat), Status.RUNNING, None)
    assert wanted_up(store) == {seat}


def test_a_database_of_before_keeps_stopped_seats_stopped(tmp_path: Path) -> None:
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
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        assert {store.get(id=id).name for id in wanted_up(store)} == {"running", "error"}


def test_a_stop_of_what_an_outage_stopped_is_for_good(store: WorkspaceStore, seat: str) -> None:
    store.observe(store.get(id=seat), Status.STOPPED, None)
    to_stay_stopped(store, seat)
    assert wanted_up(store) == set()
    (counted,) = present(store, [seat]).values()
    to_stay_stopped(store, seat)
    assert present(store, [seat])[seat] == counted  # once is enough


def test_why_a_seat_was_stopped_is_known_until_it_starts(store: WorkspaceStore, seat: str) -> None:
    def reason() -> str | None:
        return store.get(id=seat).stop_reason

    assert reason() is None
    stopped_on_purpose(store, seat, StopReason.IDLE)
    assert reason() == "idle"
    stopped_on_purpose(store, seat)  # what follows of another operation, such as a move
    assert reason() == "idle"
    to_stay_stopped(store, seat)  # somebody stops what sleeps
    assert reason() == "person"
    to_stay_stopped(store, seat, StopReason.IDLE)  # a stop for being idle that came too late
    assert reason() == "person"
    store.claim_running_slot(seat)
    assert reason() is None
    stopped_on_purpose(store, seat, StopReason.END)
    store.observe(store.get(id=seat), Status.RUNNING, None)
    assert reason() is None


def test_a_visit_wakes_only_what_sleeps(store: WorkspaceStore, seat: str) -> None:
    assert wake(store, [seat], ["idle"]) == []
    stopped_on_purpose(store, seat, StopReason.END)
    assert (wake(store, [seat], ["idle"]), sleepers(store, ["idle"])) == ([], [])
    store.claim_running_slot(seat)
    stopped_on_purpose(store, seat, StopReason.IDLE)
    assert wake(store, ["0" * 12], ["idle"]) == []
    assert wake(store, [seat], ["idle"]) == [seat]
    assert wanted_up(store) == {seat}
    # Until its container starts, so that the gateway asks about its visits.
    assert sleepers(store, ["idle"]) == [seat]
    # There was no room for it.
    back_to_sleep(store, [seat])
    assert (wanted_up(store), sleepers(store, ["idle"])) == (set(), [seat])
    wake(store, [seat], ["idle"])
    store.claim_running_slot(seat)
    back_to_sleep(store, [seat])
    assert (wanted_up(store), sleepers(store, ["idle"])) == ({seat}, [])


def test_who_stops_a_seat_that_wakes_up_keeps_it_stopped(store: WorkspaceStore, seat: str) -> None:
    stopped_on_purpose(store, seat, StopReason.IDLE)
    wake(store, [seat], ["idle"])
    to_stay_stopped(store, seat)
    assert (wanted_up(store), store.get(id=seat).stop_reason) == (set(), "person")


# --- Jobs after a crash ---------------------------------------------------------------------------------------------


def taken_up(store: WorkspaceStore, job: Job) -> tuple[Job, str]:
    """The rest of the job, and the state in which it ends without a run; "run" if it is run."""
    jobs = Jobs(store)
    left, outcome = still_wanted(jobs.find(job.id), present(store, job.project_ids), jobs.later(job))
    return left, outcome.state if outcome else "run"


def stop_and_start(store: WorkspaceStore, id: str) -> None:
    stopped_on_purpose(store, id)
    store.claim_running_slot(id)


@pytest.mark.parametrize(
    ("operation", "since", "state"),
    [
        ("stop", lambda store, id: None, "run"),
        # It was done, only its end was not written: once more does no harm.
        ("stop", stopped_on_purpose, "run"),
        # In use today.
        ("stop", stop_and_start, "canceled"),
        # What Docker did is nobody's decision.
        ("stop", lambda store, id: store.observe(store.get(id=id), Status.STOPPED, None), "run"),
        ("start", lambda store, id: None, "run"),
        ("start", stopped_on_purpose, "canceled"),
        ("reset", stop_and_start, "run"),
    ],
)
def test_a_stop_of_yesterday_does_not_stop_a_seat_in_use(
    store: WorkspaceStore, seat: str, operation: str, since: Callable[[WorkspaceStore, str], None], state: str
) -> None:
    job = Jobs(store).create(operation, [seat], {}, "somebody")
    since(store, seat)
    assert taken_up(store, job)[1] == state


@pytest.mark.parametrize(
    ("present_hash", "state"), [("first", "run"), ("wanted", "successful"), ("newer", "canceled"), (None, "canceled")]
)
def test_yesterdays_password_is_not_set_over_a_newer_one(
    store: WorkspaceStore, seat: str, present_hash: str | None, state: str
) -> None:
    job = Jobs(store).create("password", [seat], {"workspace_password_hash": "wanted"}, "somebody")
    store.update(seat, password_hash=present_hash)
    assert taken_up(store, job)[1] == state


def test_of_several_passwords_only_those_that_nobody_changed_are_set(store: WorkspaceStore, seat: str) -> None:
    (other,) = store.reserve([order("other", password_hash="first")])
    hashes = {seat: "wanted", other.id: "wanted"}
    job = Jobs(store).create("password", list(hashes), {HASHES: hashes}, "somebody")
    store.update(seat, password_hash="newer")
    left, state = taken_up(store, job)
    assert (state, left.variables) == ("run", {HASHES: {other.id: "wanted"}})


@pytest.mark.parametrize(
    ("mine", "later", "state"),
    [("exact", "exact", "canceled"), ("present", "exact", "canceled"), ("present", "present", "run")],
)
def test_a_later_whitelist_is_not_overwritten(store: WorkspaceStore, mine: str, later: str, state: str) -> None:
    jobs = Jobs(store)

    def ordered(how: str) -> Job:
        variables: dict[str, Any] = {"whitelist_domains": ["a.example"], "whitelist_state": how, "whitelist_group": ""}
        return jobs.create("whitelist", [], variables, "somebody")

    job = ordered(mine)
    jobs.finish(ordered(later).id, JobState.SUCCESSFUL)
    assert taken_up(store, job)[1] == state


def test_the_order_of_jobs_is_their_sequence(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(store)
    first = jobs.create("start", [], {}, "somebody")
    monkeypatch.setattr("atelier.database.job_store.now", lambda: "2001-01-01T00:00:00.000Z")  # the clock was set back
    second = jobs.create("stop", [], {}, "somebody")
    assert [job.id for job in jobs.unfinished()] == [first.id, second.id]
    assert [job.id for job in jobs.later(first)] == [second.id]


def test_a_job_ends_once(store: WorkspaceStore) -> None:
    jobs = Jobs(store)
    job = jobs.create("start", [], {}, "somebody")
    jobs.finish(job.id, JobState.SUCCESSFUL)
    jobs.finish(job.id, JobState.ERROR, "again")
    assert jobs.find(job.id).state is JobState.SUCCESSFUL
    assert [event.kind for event in jobs.events(job.id)] == ["ended"]
