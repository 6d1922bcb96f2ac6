"""Restarts of workspaces: which and how often. The start itself is tested with a real Docker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import as_message
from atelier.common.models import Status, StopReason, Workspace
from atelier.containers import snapshots
from atelier.database.intent import stopped_on_purpose, to_stay_stopped, wanted_up
from atelier.database.job_store import Job, Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import Container
from atelier.workspaces import side_by_side as core
from support import NETWORKS, ROOMY, container, context, open_store, order, site

from api.background import revival
from api.background.revival import Revival
from api.routers import projects
from api.services import jobs
from api.services import projects as start_and_reset


class Stage:
    """A database with one seat, and what Docker shows of it. Jobs are noted and end at once."""

    def __init__(self, store: WorkspaceStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.jobs = store, Jobs(store)
        (made,) = store.reserve([order("seat")])
        store.update(made.id, status=Status.RUNNING)
        self.id = made.id
        self.begun: list[Job] = []
        self.seen: dict[str, Any] = {}
        self.watcher = SimpleNamespace(available=True, outages=0, version=0, seen=self.seen, asked_to_end={})
        services = SimpleNamespace(
            watcher=self.watcher,
            store=store,
            locks=Locks(folder),
            jobs=self.jobs,
            settings=SimpleNamespace(site=site(folder)),
        )
        monkeypatch.setattr(jobs, "submit", self._begin)
        monkeypatch.setattr(revival, "_GRACE_SECONDS", 0.0)
        monkeypatch.setattr(revival, "_FIRST_WAIT", 0.0)
        self.revival = Revival(services)  # type: ignore[arg-type]
        monkeypatch.setattr(self.revival, "_docker_answers", lambda _: self.docker_answers)
        self.docker_answers = True

    def _begin(self, _: Any, __: Any, job: Job, **___: Any) -> None:
        self.begun.append(job)
        self.jobs.finish(job.id, JobState.FAILED)

    def show(self, status: str, id: str = "") -> None:
        id = id or self.id
        self.seen[id] = container(status)
        self.watcher.version += 1
        row = self.store.get(id=id)
        shown = Status.RUNNING if status == "running" else Status.STOPPED
        if row.status is not shown:
            self.store.observe(row, shown, None)

    def look(self, times: int = 1) -> list[Job]:
        """The jobs that these looks begin."""
        self.begun.clear()
        for _ in range(times):
            asyncio.run(self.revival._look())
        return list(self.begun)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        yield Stage(store, tmp_path, monkeypatch)


def test_what_an_outage_stopped_is_started_and_not_for_ever(stage: Stage) -> None:
    stage.show("running")
    assert stage.look() == []
    stage.show("exited")
    (job,) = stage.look()
    assert (job.operation, list(job.project_ids)) == ("revive", [stage.id])
    # It does not come up: four times more, then after the next outage.
    assert len(stage.look(20)) == 4
    stage.watcher.outages += 1
    assert len(stage.look(20)) == 5
    stage.show("running")
    stage.look()
    stage.show("exited")
    assert len(stage.look()) == 1


def test_what_a_killed_run_left_paused_is_mended(stage: Stage, tmp_path: Path) -> None:
    stage.show("paused")
    assert stage.look() == [], "somebody paused it by hand"
    (tmp_path / "snapshots").mkdir()
    journal = tmp_path / "snapshots" / f"{stage.id}.json"
    journal.write_text("{}")
    with Locks(tmp_path).workspace(stage.id, 0):
        assert stage.look(3) == [], "it is being copied"
    (job,) = stage.look()
    assert (job.operation, list(job.project_ids)) == ("revive", [stage.id])
    # Not without end, and also one that Docker calls running.
    assert len(stage.look(20)) == 4
    stage.show("running")
    assert stage.look(3) == []
    journal.unlink()
    stage.look()
    journal.write_text("{}")
    assert len(stage.look()) == 1


def test_what_was_stopped_on_purpose_is_left(stage: Stage) -> None:
    stage.show("exited")
    stopped_on_purpose(stage.store, stage.id)
    assert stage.look(3) == []


def test_rows_are_not_read_again_while_nothing_changes(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read_all = stage.store.all

    def counted() -> list[Workspace]:
        reads.append("")
        return read_all()

    monkeypatch.setattr(stage.store, "all", counted)
    stage.show("exited")
    assert len(stage.look(20)) == 5, "it does not come up"
    reads.clear()
    assert stage.look(20) == [] and reads == []
    # A killed run left it paused.
    stage.show("paused")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / f"{stage.id}.json").write_text("{}")
    assert stage.look(20) == [] and len(reads) == 1


def test_what_a_job_or_somebody_works_on_is_left_until_that_is_over(stage: Stage, tmp_path: Path) -> None:
    stage.show("exited")
    reset = stage.jobs.create("reset", [stage.id], {}, "somebody")
    assert stage.look(3) == []
    stage.jobs.finish(reset.id, JobState.ERROR)
    with Locks(tmp_path).workspace(stage.id, 1):
        assert stage.look(3) == []
    assert len(stage.look()) == 1


def test_a_stop_by_hand_counts_where_docker_lives_on(stage: Stage) -> None:
    stage.show("exited")
    stage.watcher.asked_to_end[stage.id] = 0.0
    stage.docker_answers = False  # it goes down, and has stopped the seat itself
    assert stage.look(3) == []
    assert wanted_up(stage.store) == {stage.id}
    stage.watcher.asked_to_end.clear()  # as the watcher does when the stream of events ends
    assert len(stage.look()) == 1
    stage.watcher.asked_to_end[stage.id] = 0.0
    stage.docker_answers = True
    assert stage.look(3) == []
    assert wanted_up(stage.store) == set()


def test_a_module_s_stop_that_docker_tells_late_keeps_its_reason(stage: Stage) -> None:
    """The module has let go of its lock by then, so it looks like a stop by hand."""
    stage.show("exited")
    stopped_on_purpose(stage.store, stage.id, StopReason.IDLE)
    stage.watcher.asked_to_end[stage.id] = 0.0
    assert stage.look(3) == []
    assert stage.store.get(id=stage.id).stop_reason == StopReason.IDLE
    assert stage.watcher.asked_to_end == {}


def test_a_stop_that_a_full_disk_keeps_from_the_database_is_logged_once_and_holds_up_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (other,) = stage.store.reserve([order("other")])
    stage.show("exited")
    stage.show("exited", other.id)
    stage.watcher.asked_to_end[stage.id] = 0.0
    tries: list[str] = []

    async def day() -> None:
        loop, written = asyncio.get_running_loop(), asyncio.Event()

        def write(store: WorkspaceStore, id: str) -> None:
            tries.append(id)
            if len(tries) < 20:
                raise AtelierError(Code.REGISTRY_ERROR, as_message("The database's disk is full."))
            to_stay_stopped(store, id)
            loop.call_soon_threadsafe(written.set)

        monkeypatch.setattr(revival, "_EVERY_SECONDS", 0.0)
        monkeypatch.setattr(revival, "to_stay_stopped", write)
        looking = asyncio.create_task(stage.revival.run())
        await asyncio.wait_for(written.wait(), 30)
        looking.cancel()

    asyncio.run(day())
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "disk is full" in said.getMessage() and not said.exc_info
    assert stage.id not in wanted_up(stage.store)
    assert {id for job in stage.begun for id in job.project_ids} == {other.id}


def begun_jobs(monkeypatch: pytest.MonkeyPatch, module: object) -> list[str]:
    """The operations of the jobs that the module has run from now on; none does anything."""
    begun: list[str] = []

    async def run(_: Any, __: Any, operation: str, ___: Any) -> None:
        begun.append(operation)

    monkeypatch.setattr(module, "run_job", run)
    return begun


@pytest.mark.parametrize(
    ("reason", "asked"), [(None, True), (StopReason.IDLE, True), (StopReason.PERSON, False), (StopReason.END, False)]
)
def test_a_stop_of_what_an_outage_stopped_is_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: StopReason | None, asked: bool
) -> None:
    """It is down, and would be started in a moment."""
    begun = begun_jobs(monkeypatch, projects)
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("seat")])
        store.update(made.id, status=Status.STOPPED)
        if reason:
            stopped_on_purpose(store, made.id, reason)
        services: Any = SimpleNamespace(
            row=lambda id: store.get(id=id),
            presenter=SimpleNamespace(status=lambda row: row.status),
            settings=SimpleNamespace(wake_on_visit=["idle"]),
        )
        caller: Any = None
        asyncio.run(projects.stop_project(made.id, services, caller))
    assert begun == (["stop"] if asked else [])


@pytest.mark.parametrize(("seen", "asked"), [("running", False), ("paused", True), (None, False)])
def test_a_start_of_what_somebody_paused_by_hand_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: str | None, asked: bool
) -> None:
    begun = begun_jobs(monkeypatch, start_and_reset)
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("seat")])
        store.update(made.id, status=Status.RUNNING)
        services: Any = SimpleNamespace(
            row=lambda id: store.get(id=id),
            reads=store,
            presenter=SimpleNamespace(status=lambda row: row.status, project=lambda row: {}),
            watcher=SimpleNamespace(seen={made.id: container(seen)} if seen else {}),
        )
        caller: Any = None
        asyncio.run(start_and_reset.start_workspace(services, caller, store.get(id=made.id)))
    assert begun == (["start"] if asked else [])


def test_one_that_a_killed_run_left_paused_goes_on_as_it_is(tmp_path: Path) -> None:
    class Engine:
        status = "paused"

        def cpus(self) -> int:
            return 1

        def inspect(self, name: str) -> Container:
            return container(self.status, name=name)

        def unpause(self, _: str) -> None:
            self.status = "running"

    engine = Engine()
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("seat")])
        store.update(made.id, status=Status.RUNNING)
        here = context(site(tmp_path), store, engine)
        assert core.revive(here, [made.id]) == [core.Revived(made.id)], "somebody paused it by hand"
        snapshots._write_journal(here.on(), made, container("paused"), True, [])
        assert core.revive(here, [made.id]) == [core.Revived(made.id, started=True)]
    assert engine.status == "running"
    assert snapshots.interrupted(here.site) == []


@pytest.mark.parametrize(("passed", "left"), [(0.0, 300), (200.5, 100), (400.0, 1)])
def test_all_fetches_of_a_run_together_have_the_time_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: float, left: int
) -> None:
    """Git servers that are silent would have the job reach its limit, and the other workspaces not started."""
    moment, given = [0.0], list[float]()

    def bring_up(*_: Any) -> None:
        moment[0] += passed

    monkeypatch.setattr(core, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    monkeypatch.setattr(core, "bring_up", bring_up)
    monkeypatch.setattr(core, "fetch", lambda *order: given.append(order[-1]))
    engine = SimpleNamespace(cpus=lambda: 1, inspect=lambda name: container("exited", name=name))
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("seat")._replace(git_url="https://example.org/lesson.git")])
        store.update(made.id, status=Status.RUNNING)
        here = context(site(tmp_path), store, engine)
        assert core.revive(here, [made.id]) == [core.Revived(made.id, started=True)]
    assert given == [left]
