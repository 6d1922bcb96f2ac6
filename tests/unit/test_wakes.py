"""Visits to sleeping workspaces: which one starts them, the number of runs, and the visitor's response."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message, as_message
from atelier.common.models import Status, StopReason
from atelier.database.claims import Claims, Participant
from atelier.database.intent import stopped_on_purpose, to_stay_stopped, wanted_up
from atelier.database.job_store import Job, Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore
from atelier.gateway.haproxy import Gateway
from atelier.workshop.idle_policy import extend
from support import NETWORKS, ROOMY, order, site

from api.background.sleepers import Sleepers
from api.core import wakes
from api.core.wakes import Visit, Wakes
from api.runner import queue
from api.runner.adapter import Ended
from api.runner.operations import OPERATIONS
from api.services import visits
from api.services.visits import visit, wake_early, wake_seats_of
from tests.waiting import reached, still_waits

REFUSED = AtelierError(Code.IDE_NOT_READY, as_message("It does not answer."))
PERSON = "203.0.113.9"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakes, "_HOLD_SECONDS", 0.2)
    monkeypatch.setattr(visits, "_LOOK_SECONDS", 0.01)


class Playbook:
    """Notes its runs; each lasts until it is let go, and fails for those in ``failing``."""

    def __init__(self, *failing: str) -> None:
        self.runs: list[list[str]] = []
        self.go = asyncio.Event()
        self.ready: Callable[[str], None] = lambda id: None
        self._failing = failing

    async def __call__(self, ids: Sequence[str], ready: Callable[[str], None]) -> Mapping[str, AtelierError]:
        self.runs.append(list(ids))
        self.ready = ready
        await self.go.wait()
        return {id: REFUSED for id in ids if id in self._failing}


def test_forty_at_once_are_one_run_and_each_is_told_of_its_own() -> None:
    async def lunch() -> None:
        many, playbook = Wakes(0), Playbook("seat 7")
        ids = [f"seat {number}" for number in range(40)]
        for id in ids:
            many.begin(id, PERSON, playbook)
        # The page at once; loaded again, it waits, and comes again with more progress.
        first = [await many.follow(id, PERSON) for id in ids]
        assert {found.status for found in first if found} == {202}
        assert playbook.runs == []
        again = await many.follow("seat 3", PERSON)
        assert again is not None and again.status == 202
        assert playbook.runs == [ids]
        # One that is ready does not wait for the others.
        waits = asyncio.create_task(many.follow("seat 3", PERSON))
        assert await still_waits(waits, 0.01)
        playbook.ready("seat 3")
        assert await waits == Visit(204)
        assert await many.follow("seat 3", PERSON) is None
        failing = asyncio.create_task(many.follow("seat 7", PERSON))
        assert await still_waits(failing, 0.01)
        playbook.go.set()
        assert await failing == Visit(503)
        await reached(lambda: not many.ids(), "all are counted")
        assert many.outcomes == Counter(started=39, failed=1)

    asyncio.run(lunch())


def test_those_who_come_later_share_two_more_runs_at_most() -> None:
    async def lunch() -> list[list[str]]:
        many, playbook = Wakes(0), Playbook()

        async def begun(number: int, runs: int) -> None:
            many.begin(f"seat {number}", PERSON, playbook)
            await reached(lambda: len(playbook.runs) == runs, "its run")

        for number in range(6):
            await begun(number, min(number + 1, 2))
        await asyncio.sleep(2 * wakes._GATHER_SECONDS)
        assert len(playbook.runs) == 2  # a third one waits
        playbook.go.set()
        await reached(lambda: not many.ids(), "the third run")
        return playbook.runs

    assert [len(run) for run in asyncio.run(lunch())] == [1, 1, 4]


def test_runs_that_wait_for_a_silent_ide_hold_back_others_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakes, "_PATIENCE_SECONDS", 0.5)

    async def lunch() -> list[list[str]]:
        many, silent, playbook = Wakes(0), Playbook(), Playbook()
        playbook.go.set()

        async def begun(number: int) -> None:
            many.begin(f"silent {number}", PERSON, silent)
            await reached(lambda: len(silent.runs) > number, "its run")

        await begun(0)
        await begun(1)
        many.begin("waits", PERSON, playbook)
        await asyncio.sleep(2 * wakes._GATHER_SECONDS)
        assert playbook.runs == []
        await reached(lambda: "waits" not in many.ids(), "its run beside the silent ones")
        await begun(2)
        await begun(3)
        # Not without end.
        many.begin("waits again", PERSON, playbook)
        await asyncio.sleep(wakes._PATIENCE_SECONDS + 2 * wakes._GATHER_SECONDS)
        assert playbook.runs == [["waits"]]
        silent.go.set()
        await reached(lambda: not many.ids(), "all runs")
        return playbook.runs

    assert asyncio.run(lunch()) == [["waits"], ["waits again"]]


def test_starts_by_visits_take_no_place_of_what_people_wait_for() -> None:
    wake = OPERATIONS["wake"].lane
    assert [name for name, operation in OPERATIONS.items() if operation.lane == wake] == ["wake"]
    assert queue._LANES[wake] >= wakes._MOST_RUNS
    assert {operation.lane for operation in OPERATIONS.values()} == queue._LANES.keys()


def test_starts_are_limited_by_address_and_by_workspace() -> None:
    async def day() -> None:
        few, playbook = Wakes(4), Playbook()
        playbook.go.set()

        async def begun(id: str, address: str) -> bool:
            try:
                few.begin(id, address, playbook)
            except AtelierError as error:
                assert error.code is Code.TOO_MANY_ATTEMPTS
                return False
            await reached(lambda: id not in few.ids(), "its run")
            return True

        assert [await begun("a", f"198.51.100.{number}") for number in range(4)] == [True, True, True, False]
        assert [await begun(id, PERSON) for id in "bcdef"] == [True] * 4 + [False]
        assert await begun("f", "198.51.100.9")
        assert few.outcomes == Counter(started=8, refused=2)

    asyncio.run(day())


def test_progress_grows_and_never_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def day() -> None:
        moment = [100.0]
        monkeypatch.setattr(wakes, "time", SimpleNamespace(monotonic=lambda: moment[0]))
        many, playbook = Wakes(0), Playbook()
        many.begin("a", PERSON, playbook)
        shown = []
        for passed in (0, 1, 1, 100):
            moment[0] += passed
            shown.append(await many.follow("a", f"198.51.100.{len(shown)}"))
        assert shown == [Visit(202, 0, 2), Visit(202, 40, 2), Visit(202, 80, 1), Visit(202, 95, 1)]
        playbook.go.set()

    asyncio.run(day())


# --- Which workspace a visit starts -----------------------------------------------------------------------------------


class Stage:
    """A database with one seat of a workshop that sleeps. Jobs end at once, or fail with what ``error`` says."""

    def __init__(self, store: WorkspaceStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.jobs, self.error = store, Jobs(store), ""
        (made,) = store.reserve([order("seat", group="day")])
        store.update(made.id, status=Status.RUNNING)
        stopped_on_purpose(store, made.id, StopReason.IDLE)
        self.id, self.begun, self.audit = made.id, list[Job](), list[tuple[Any, ...]]()
        self.watcher = SimpleNamespace(available=True, answers=lambda node: self.watcher.available)
        self.workshop = SimpleNamespace(end=None, group="day")
        self.settings = SimpleNamespace(site=site(folder), workshop=self.workshop, wake_on_visit=("idle",))
        self.services: Any = SimpleNamespace(
            watcher=self.watcher,
            store=store,
            reads=store,
            locks=Locks(folder),
            jobs=self.jobs,
            read_jobs=self.jobs,
            read_claims=Claims(store, "day", wakes=("idle",)),
            settings=self.settings,
            wakes=Wakes(0),
            clock=SimpleNamespace(now=lambda: datetime.now(UTC)),
            audit=SimpleNamespace(note=lambda *told: self.audit.append(told), refuse=lambda *_, **__: None),
            require_docker=lambda: None,
        )
        monkeypatch.setattr(visits, "submit", self._run)

    def _run(self, _: Any, __: Any, job: Job) -> asyncio.Future[Ended]:
        self.begun.append(job)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        seats = [{"id": id, "started": not self.error, "error": self.error or None} for id in job.project_ids]
        outcome = Ended("failed" if self.error else "successful", {"workspace_revive": {"seats": seats}})
        if not self.error:
            for id in job.project_ids:
                self.jobs.add_event(job.id, "progress", {"text": Message("step.seats_revived", seat=id)})
                self.store.claim_running_slot(id)
        OPERATIONS[job.operation].finalize(self.jobs, job, outcome)
        self.jobs.finish(job.id, JobState(outcome.state))
        ended.set_result(outcome)
        return ended

    async def visit(self) -> int:
        return (await visit(self.services, self.store.get(id=self.id), PERSON)).status

    def visits(self, count: int = 2) -> list[int]:
        async def all_of_them() -> list[int]:
            return [await self.visit() for _ in range(count)]

        return asyncio.run(all_of_them())


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(wakes, "_HOLD_SECONDS", 5.0)
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        yield Stage(store, tmp_path, monkeypatch)


def test_a_visit_starts_what_sleeps_and_later_ones_pass(stage: Stage) -> None:
    assert stage.visits(3) == [202, 204, 204]
    assert [(job.operation, list(job.project_ids)) for job in stage.begun] == [("wake", [stage.id])]
    assert stage.audit == [(PERSON, "wake", stage.id, "asked")]
    assert stage.store.get(id=stage.id).stop_reason is None


def test_what_a_person_stopped_is_left(stage: Stage) -> None:
    to_stay_stopped(stage.store, stage.id)
    assert stage.visits() == [204, 204]
    stage.settings.wake_on_visit = ("idle", "person")
    assert stage.visits() == [202, 204]


def test_a_seat_whose_release_failed_is_left(stage: Stage) -> None:
    """It may still have its former participant's password, who would start it again."""
    stage.store.update(stage.id, unreleased="Docker is away.")
    assert (stage.visits(), stage.begun) == ([204, 204], [])


def test_after_the_end_of_its_workshop_a_seat_sleeps_on(stage: Stage) -> None:
    stage.workshop.end = datetime.now(UTC) - timedelta(minutes=1)
    assert stage.visits(1) == [204]
    assert stage.begun == []
    stage.workshop.group = "another"
    assert stage.visits() == [202, 204]
    stopped_on_purpose(stage.store, stage.id, StopReason.IDLE)
    stage.workshop.group = "day"
    extend(stage.store, stage.id, 5)
    assert stage.visits() == [202, 204]


def test_what_the_end_of_the_workshop_stopped_is_left_unless_a_setting_says_otherwise(stage: Stage) -> None:
    stage.workshop.end = datetime.now(UTC) - timedelta(minutes=1)
    stopped_on_purpose(stage.store, stage.id, StopReason.END)
    assert stage.visits() == [204, 204]
    # Nor is it when the next day has begun.
    stage.workshop.end = None
    assert stage.visits() == [204, 204]
    assert stage.begun == []
    stage.settings.wake_on_visit = ("idle", "end")
    stage.workshop.end = datetime.now(UTC) - timedelta(minutes=1)
    assert stage.visits() == [202, 204]


def test_a_seat_that_another_job_has_is_started_after_it(stage: Stage) -> None:
    reset = stage.jobs.create("reset", [stage.id], {}, "somebody")
    assert (stage.visits(), stage.begun) == ([202, 202], [])
    stage.jobs.finish(reset.id, JobState.SUCCESSFUL)
    assert stage.visits() == [202, 204]


def test_a_start_that_fails_is_told_and_the_seat_sleeps_on(stage: Stage) -> None:
    stage.error = "The maximum is reached."
    assert stage.visits() == [202, 503]
    assert (wanted_up(stage.store), stage.store.get(id=stage.id).stop_reason) == (set(), "idle")
    assert stage.services.wakes.outcomes == Counter(failed=1)
    assert stage.visits(5) == [202, 503, 202, 503, 429]
    stage.watcher.available = False
    assert stage.visits(1) == [503]


def test_a_claim_starts_the_seat_before_it_is_opened(stage: Stage) -> None:
    async def day() -> int:
        row = stage.store.get(id=stage.id)
        wake_early(stage.services, row, PERSON)
        wake_early(stage.services, row, PERSON)
        await reached(lambda: stage.begun and not stage.services.wakes.ids(), "it runs")
        return await stage.visit()

    assert asyncio.run(day()) == 204
    assert len(stage.begun) == 1


def test_the_workshop_s_page_starts_the_seats_of_a_browser_that_it_knows(stage: Stage) -> None:
    async def opened(browser: str) -> list[Job]:
        wake_seats_of(stage.services, browser, PERSON)
        await asyncio.sleep(0.1)
        return stage.begun

    claims = stage.services.read_claims
    claims.claim([Participant("Max", "max@example.com", "browser mine")])
    assert asyncio.run(opened("browser another")) == []
    (job,) = asyncio.run(opened("browser mine"))
    assert (job.operation, list(job.project_ids)) == ("wake", [stage.id])
    # Somebody's former seat is another's.
    stopped_on_purpose(stage.store, stage.id, StopReason.IDLE)
    claims.release(stage.id)
    assert asyncio.run(opened("browser mine")) == [job]


def test_the_gateway_has_those_that_sleep(stage: Stage) -> None:
    watch = Sleepers(stage.services)
    gateway = Gateway(stage.settings.site.state_dir, stage.services.locks, "asleep.map")

    async def look() -> dict[str, str]:
        await watch.look()
        return gateway.saved()

    async def day() -> None:
        assert await look() == {stage.id: "asleep"}
        playbook = Playbook()
        stage.services.wakes.begin(stage.id, PERSON, playbook)
        stage.store.claim_running_slot(stage.id)
        # Its container starts; until its IDE answers, visits get the progress.
        assert await look() == {stage.id: "asleep"}
        playbook.go.set()
        await reached(lambda: not stage.services.wakes.ids(), "it runs")
        assert await look() == {}
        stopped_on_purpose(stage.store, stage.id, StopReason.IDLE)
        assert await look() == {stage.id: "asleep"}

    asyncio.run(day())
