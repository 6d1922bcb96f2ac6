"""A release: from outside, checked by Docker's record, and nobody's seat when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message, as_message
from atelier.common.models import Status
from atelier.containers import container as seats
from atelier.containers.container import observed_status
from atelier.containers.context import Context
from atelier.database.claims import Claims
from atelier.database.intent import stopped_on_purpose
from atelier.database.job_store import Jobs
from atelier.database.lasting_errors import shown
from atelier.database.migrations import VERSION
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import Container, File
from atelier.workshop.release import KEEP_FILES, RESET_FILES, release
from atelier.workspaces import reset as resets
from atelier.workspaces import service
from atelier.workspaces.plan import WorkspaceSpec, WorkspaceState, plan_workspace
from atelier.workspaces.service import ensure
from atelier.workspaces.views import observed_view
from support import container, context, open_store, order, site

from api.runner.adapter import Ended
from api.runner.operations import OPERATIONS, RELEASE, leaving


class Engine:
    """A container that an engine restarts, or says so."""

    def __init__(self, status: str = "running", fault: AtelierError | None = None, *, restarts: bool = True) -> None:
        self.status, self.starts, self._fault, self._restarts = status, 1, fault, restarts
        self.config = b""

    def inspect(self, name: str) -> Container:
        return container(self.status, name=name, started_at=f"start {self.starts}")

    def container_names(self, label: str) -> dict[str, str]:
        return {}

    def put(self, name: str, folder: str, files: Sequence[File]) -> None:
        self.config = files[0].data

    def restart(self, name: str) -> None:
        if self._fault:
            raise self._fault
        self.starts += self._restarts


class Silent(Engine):
    def logs(self, name: str, lines: int) -> str:
        return ""


def released(
    tmp_path: Path,
    store: WorkspaceStore,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    sync_ports: Callable[[], None] = lambda: None,
    files: str = KEEP_FILES,
) -> Any:
    made = site(tmp_path)
    here = context(made, store, engine, ready_timeout=-59.8)
    monkeypatch.setattr(Context, "sync_ports", lambda _: sync_ports())
    for module in (seats, resets):
        monkeypatch.setattr(module, "await_ide", lambda *_: None)
    row = store.find(name="Seat 1")
    assert row is not None
    release(here, id=row.id, name=None, password_hash="$new", files=files, keep_hours=24, run_id="5e7a0b")


def seat(store: WorkspaceStore, status: Status = Status.RUNNING) -> str:
    (row,) = store.reserve([order("Seat 1", password_hash="$old")])
    store.update(row.id, status=status)
    return row.id


def test_the_container_is_restarted_with_another_password_and_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path) as store:
        id, engine = seat(store, Status.ERROR), Engine()
        released(tmp_path, store, engine, monkeypatch)
        assert engine.starts == 2
        assert engine.config == b'auth: password\nhashed-password: "$new"\ncookie-suffix: 5e7a0b\ncert: false\n'
        row = store.get(id=id)
        assert (row.password_hash, row.sessions, row.status, row.error) == ("$new", "5e7a0b", Status.RUNNING, None)


def test_what_is_stopped_stays_so_with_the_new_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        seat(store, Status.STOPPED)
        engine = Engine("exited")
        released(tmp_path, store, engine, monkeypatch)
        assert (engine.starts, b"$new" in engine.config) == (1, True)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(restarts=False),  # whatever it was that answered, it is the old one
        Engine(fault=AtelierError(Code.SERVICE_UNAVAILABLE, as_message("Docker is away."))),
        Engine(fault=AtelierError(Code.ENGINE_ERROR, as_message("It would not end."))),
    ],
)
def test_a_seat_whose_release_fails_is_in_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    with open_store(tmp_path) as store:
        id = seat(store)
        with pytest.raises(AtelierError):
            released(tmp_path, store, engine, monkeypatch)
        row = store.get(id=id)
        assert (row.unreleased is not None, row.password_hash) == (True, "$new")


def test_a_release_that_does_not_get_to_the_seat_leaves_it_in_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with open_store(tmp_path) as store:
        id = seat(store)
        with pytest.raises(OSError, match="No space"):
            released(tmp_path, store, Engine(), monkeypatch, full)
        assert "No space" in str(store.get(id=id).unreleased)
        store.update(id, unreleased=None)
        with Locks(tmp_path).workspace(id, 1.0), pytest.raises(AtelierError):
            released(tmp_path, store, Engine(), monkeypatch)
        assert store.get(id=id).unreleased


def test_only_another_release_ends_the_error_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        id = seat(store)
        store.update(id, unreleased="Docker is away.")
        # Its user ends the container's first process, and Docker starts the container again.
        for status in ("restarting", "exited", "running"):
            assert observed_view(site(tmp_path), store.get(id=id), container(status))["status"] == "error"
            store.observe(store.get(id=id), *observed_status(store.get(id=id), container(status)))
            assert Claims(store, "Seat").occupancy().available == 0
        released(tmp_path, store, Engine("exited"), monkeypatch)
        row = store.get(id=id)
        assert (row.status, row.error, row.unreleased) == (Status.STOPPED, None, None)


def test_an_ide_that_does_not_answer_leaves_the_error_of_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "answers_in_time", lambda *_: False)
    with open_store(tmp_path) as store:
        id = seat(store)
        store.update(id, unreleased="Docker is away.")
        with pytest.raises(AtelierError, match="did not answer"):
            seats.await_ide(context(site(tmp_path), store, Silent()).on(), store.get(id=id))
        assert store.get(id=id).unreleased


def test_a_release_whose_reset_was_done_before_an_outage_ends_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reset(Engine):
        def inspect(self, name: str) -> Container:
            return container("running", name=name, labels={"atelier.reset": "5e7a0b"})

    with open_store(tmp_path) as store:
        id = seat(store)
        store.update(id, unreleased="Docker is away.")
        released(tmp_path, store, Reset(), monkeypatch, files=RESET_FILES)
        row = store.get(id=id)
        assert (row.status, row.error, row.unreleased) == (Status.RUNNING, None, None)


def _age(store: WorkspaceStore) -> None:
    """Makes the database one of before the column for failed releases."""
    with store.transaction() as db:
        db.execute("DROP TRIGGER bases")
        for column in ("was_cloned", "unreleased"):
            db.execute(f"ALTER TABLE workspaces DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version = {VERSION - 2}")


@pytest.mark.parametrize(
    ("why", "error"),
    [("Docker is away.", None), (Message("machine_removed", node="alpha"), "Its machine alpha was removed")],
)
def test_a_failed_release_of_an_older_version_is_known(tmp_path: Path, why: str, error: str | None) -> None:
    """It was the workspace's error, with the removal of its machine inside."""
    with open_store(tmp_path) as store:
        failed, other = seat(store), store.reserve([order("other")])[0].id
        store.update(failed, status=Status.ERROR, error=Message("release_failed", why=why))
        store.update(other, status=Status.ERROR, error="A sentence of 0.1.0.")
        _age(store)
    with open_store(tmp_path) as store:
        row = store.get(id=failed)
        assert (row.unreleased, str(row.error)[: len(error or "None")]) == (why, str(error))
        assert shown(row, row.status, row.error)[1] == f"Its release failed: {why}"
        assert (store.get(id=other).unreleased, store.get(id=other).error) == (None, "A sentence of 0.1.0.")


@pytest.mark.parametrize("why", ["Docker is away.", Message("node_silent", node="alpha")])
def test_one_of_an_older_version_that_was_stopped_since_stays_so(tmp_path: Path, why: str) -> None:
    with open_store(tmp_path) as store:
        id = seat(store)
        stopped_on_purpose(store, id)
        store.update(id, status=Status.ERROR, error=Message("release_failed", why=why))
        _age(store)
    with open_store(tmp_path) as store:
        row = store.get(id=id)
        assert (row.status, row.error, row.unreleased) == (Status.STOPPED, None, why)
        assert plan_workspace(WorkspaceSpec(WorkspaceState.PRESENT, id=id), row, container("exited")) == []


@pytest.mark.parametrize(("state", "status"), [(WorkspaceState.STARTED, "running"), (WorkspaceState.PRESENT, "error")])
def test_a_check_tells_the_state_that_a_start_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: WorkspaceState, status: str
) -> None:
    with open_store(tmp_path) as store:
        id = seat(store)
        store.update(id, status=Status.ERROR, error="It does not answer.", unreleased="Docker is away.")
        monkeypatch.setattr(service, "bring_up", lambda _, row: store.claim_running_slot(row.id))
        here, wanted = context(site(tmp_path), store, Engine()), WorkspaceSpec(state, id=id)
        foretold, done = (ensure(here, wanted, check_mode=check_mode) for check_mode in (True, False))
        assert foretold.after == done.after
        assert (done.after["status"], store.get(id=id).unreleased is None) == (status, status == "running")


def test_a_start_does_not_free_a_seat_whose_release_fails_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that has failed notes that after it has let go of the seat."""
    with open_store(tmp_path) as store:
        id = seat(store, Status.ERROR)
        monkeypatch.setattr(service, "bring_up", lambda *_: store.update(id, unreleased="Docker is away."))
        ensure(context(site(tmp_path), store, Engine("exited")), WorkspaceSpec(WorkspaceState.STARTED, id=id))
        assert store.get(id=id).unreleased


@pytest.mark.parametrize("state", ["canceled", "failed"])
def test_a_release_job_that_never_ran_leaves_the_seat_in_error(tmp_path: Path, state: str) -> None:
    with open_store(tmp_path) as store:
        id, jobs = seat(store), Jobs(store)
        job = jobs.create(RELEASE, [id], {}, "operator")
        ended = Ended(state, {}, AtelierError(Code.CANCELED, as_message("It was canceled before it began.")))
        (outcome,) = OPERATIONS[RELEASE].finalize(jobs, job, ended)
        assert outcome["status"] == "error"
        assert outcome["error"].startswith("Its release failed: ")


@pytest.mark.parametrize(("operation", "is_leaving"), [(RELEASE, True), ("reset", True), ("checkpoint", False)])
def test_nobody_gets_a_seat_whose_files_are_about_to_go(tmp_path: Path, operation: str, is_leaving: bool) -> None:
    """The job may wait for others, and the participant have begun to work."""
    with open_store(tmp_path) as store:
        id, jobs = seat(store), Jobs(store)
        jobs.create(operation, [id], {}, "operator")
        assert leaving(jobs) == ({id} if is_leaving else set())


def test_a_release_job_that_succeeded_leaves_the_status(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        id, jobs = seat(store), Jobs(store)
        job = jobs.create(RELEASE, [id], {}, "operator")
        OPERATIONS[RELEASE].finalize(jobs, job, Ended("successful", {}))
        assert store.get(id=id).status is Status.RUNNING
