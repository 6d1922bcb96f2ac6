"""The queue on a database that refuses for a while: the end of a job is kept, and written when that can be done."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, id_of
from atelier.common.models import Status
from atelier.database.job_store import Jobs, JobState
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.docker_errors import Place
from support import NETWORKS, ROOMY, order

from api.auth.middleware import Caller
from api.runner import queue as queue_module
from api.runner.adapter import Ended
from api.runner.operations import DRAIN, OPERATIONS, Operation
from api.runner.queue import Queue
from api.services.jobs import start_job
from tests.waiting import reached, still_waits


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as opened:
        yield opened


def made(store: WorkspaceStore) -> Queue:
    stop = Operation("workspace_stop")
    create = Operation("workspace_create", "create")
    settings = SimpleNamespace(
        playbooks=Path("/"),
        inventory=Path("/"),
        raw_site={},
        site=SimpleNamespace(builds=None),
        ready_timeout=1,
        reset_keep_hours=1,
    )
    docker = SimpleNamespace(available=True, outages=0)
    operations = {"stop": stop, "create": create, "whitelist": stop, "repair": stop}
    return Queue(settings, Jobs(store), operations, docker)  # type: ignore[arg-type]


def test_a_playbook_s_own_words_are_not_kept_where_seats_say_why() -> None:
    """An assertion in a playbook has such a sentence, without a code."""
    own = AtelierError(Code.RUN_FAILED, as_message("Not changed: 0123456789ab."))
    seats = [{"error": "The IDE did not answer."}, {"error": None}]
    reason = queue_module._reason(Ended("failed", {}, own), seats)
    assert (id_of(reason), reason) == ("seats_failed", "1 of 2 workspaces failed; see the error of each.")
    assert queue_module._reason(Ended("failed", {}, own), [{"error": None}]) == own.message
    coded = AtelierError(Code.CANCELED, Message("canceled"))
    assert id_of(queue_module._reason(Ended("canceled", {}, coded), seats)) == "canceled"
    assert queue_module._reason(Ended("successful", {}), seats) is None


def test_a_drained_machines_job_says_which_workspaces_stayed(store: WorkspaceStore) -> None:
    moved, stayed = (row.id for row in store.reserve([order("one"), order("two")]))
    store.update(stayed, status=Status.RUNNING)
    jobs = Jobs(store)
    job = jobs.create(DRAIN, [moved, stayed], {"node_name": "alpha"}, "operator")
    assert dict(OPERATIONS[DRAIN].variables(jobs, job)) == {"node_name": "alpha"}
    seats = [{"id": moved, "error": None}, {"id": stayed, "error": "No room."}]
    outcomes = OPERATIONS[DRAIN].finalize(jobs, job, Ended("failed", {"cluster_node": {"seats": seats}}))
    assert [outcome["error"] for outcome in outcomes] == [None, "No room."]
    # One that is being created was none of the job's business.
    assert store.get(id=moved).status is Status.CREATING
    assert OPERATIONS[DRAIN].unfinished(jobs, job) == ()


def test_each_workspace_of_a_job_has_the_error_that_its_module_told(store: WorkspaceStore) -> None:
    done, failed = (row.id for row in store.reserve([order("one"), order("two")]))
    jobs = Jobs(store)
    for operation, module in (("password", "workspace_passwords"), ("revive", "workspace_revive")):
        job = jobs.create(operation, [done, failed], {}, "operator")
        ended = Ended("failed", {module: {"seats": [{"id": done, "error": None}, {"id": failed, "error": "Silent."}]}})
        for id in (done, failed):
            store.update(id, status=Status.RUNNING, error=None)
        outcomes = OPERATIONS[operation].finalize(jobs, job, ended)
        assert [outcome["error"] for outcome in outcomes] == [None, "Silent."]


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (AtelierError(Code.SERVICE_UNAVAILABLE, Message("git.not_installed"), field="site.git"), 1),
        (AtelierError(Code.SERVICE_UNAVAILABLE, Message("squid.not_running", container="x")), 1),
        (Place("unix:///run/docker.sock").unreachable("ConnectionError"), 2),
    ],
)
def test_only_a_docker_outage_makes_a_job_run_again(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, error: AtelierError, runs: int
) -> None:
    """Also where another service that is away raises the same code: its caller learns which one."""
    ends = [Ended("failed", {}, error), *[Ended("successful", {})] * (runs - 1)]
    monkeypatch.setattr(queue_module, "execute", lambda *_: ends.pop(0))
    monkeypatch.setattr(queue_module, "_LOOK_SECONDS", 0.01)
    jobs = Jobs(store)

    async def scenario() -> None:
        queue = made(store)
        job = jobs.create("stop", [], {}, "somebody")
        end = queue.submit(job)
        first = await asyncio.wait_for(queue.first_result(job.id), 10)
        await asyncio.wait_for(end, 10)
        assert not ends
        assert id_of(first.error.message) == ("docker_went_away" if runs > 1 else id_of(error.message))
        await queue.drain()

    asyncio.run(scenario())


@pytest.mark.parametrize(("operation", "lines"), [("whitelist", 1), ("repair", 0)])
def test_the_audit_log_has_the_end_of_a_job_without_a_workspace(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch, operation: str, lines: int
) -> None:
    """Not the news that Docker went away in the middle, which its caller gets."""
    away = Place("unix:///run/docker.sock").unreachable("ConnectionError")
    ends = [Ended("failed", {}, away), Ended("successful", {})]
    monkeypatch.setattr(queue_module, "execute", lambda *_: ends.pop(0))
    monkeypatch.setattr(queue_module, "_LOOK_SECONDS", 0.01)
    jobs, written = Jobs(store), []

    async def scenario() -> None:
        services: Any = SimpleNamespace(
            jobs=jobs,
            read_jobs=jobs,
            queue=made(store),
            place=lambda _: None,
            audit=SimpleNamespace(write=lambda *line: written.append(line)),
        )
        job, end = await start_job(services, Caller("127.0.0.1", "loopback"), operation, [])
        first = await services.queue.first_result(job.id)
        assert first.error is not None
        assert written == []
        await asyncio.wait_for(end, 10)
        assert written == [("loopback", operation, None, "successful", job.id)] * lines
        await services.queue.drain()

    asyncio.run(scenario())


def test_the_end_is_written_when_the_disk_has_space_again(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    def execute(execution: Any, *_: Any) -> Ended:
        runs.append(execution.id)
        fill(store)
        return Ended("successful", {})

    monkeypatch.setattr(queue_module, "execute", execute)
    monkeypatch.setattr(queue_module, "_FIRST_RETRY", 0.02)
    jobs = Jobs(store)

    async def scenario() -> None:
        queue = made(store)
        job = jobs.create("stop", [], {}, "somebody")
        end = queue.submit(job)
        await reached(lambda: runs, "the run")
        # Several retries meet the full disk.
        assert await still_waits(end, 0.3)
        assert jobs.find(job.id).state is JobState.RUNNING
        empty(store)
        ended = await asyncio.wait_for(end, 10)
        assert ended.state == "successful"
        assert jobs.find(job.id).state is JobState.SUCCESSFUL
        assert jobs.events(job.id)[-1].kind == "ended"
        assert runs == [job.id]
        await queue.drain()

    asyncio.run(scenario())


def test_creates_that_take_long_keep_nobody_else_waiting(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = threading.Event()

    def execute(execution: Any, *_: Any) -> Ended:
        if execution.playbook.stem == "workspace_create":
            assert built.wait(30)
        return Ended("successful", {})

    monkeypatch.setattr(queue_module, "execute", execute)
    jobs = Jobs(store)

    async def scenario() -> None:
        queue = made(store)
        creates = [queue.submit(jobs.create("create", [], {}, "somebody")) for _ in range(6)]
        ended = await asyncio.wait_for(queue.submit(jobs.create("stop", [], {}, "somebody")), 10)
        assert (ended.state, [create.done() for create in creates]) == ("successful", [False] * 6)
        built.set()
        assert [ended.state for ended in await asyncio.gather(*creates)] == ["successful"] * 6
        await queue.drain()

    asyncio.run(scenario())


def fill(store: WorkspaceStore) -> None:
    """Makes SQLite report a full disk from now on."""
    with store.reading() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AtelierError, match="full"):
        while True:
            with store.transaction() as db:
                db.execute("INSERT INTO job_events (job_id, at, kind, data) VALUES ('x', '', '', ?)", ("x" * 200,))


def empty(store: WorkspaceStore) -> None:
    with store.reading() as db:
        db.execute("PRAGMA max_page_count = 1000000")


def test_an_outcome_is_written_without_a_run(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "execute", lambda *_: pytest.fail("it was run"))
    jobs = Jobs(store)

    async def scenario() -> None:
        queue = made(store)
        job = jobs.create("stop", [], {}, "somebody")
        await queue.submit(job, outcome=Ended("successful", {}))
        assert jobs.find(job.id).state is JobState.SUCCESSFUL
        await queue.drain()

    asyncio.run(scenario())


def test_a_hung_event_loop_ends_the_process() -> None:
    code = textwrap.dedent(
        """
        import asyncio, time
        from api.background import watchdog
        async def hang():
            task = asyncio.create_task(watchdog.run(stall=1.5))
            await asyncio.sleep(3)  # a loop that runs is left alone
            print("alive", flush=True)
            time.sleep(30)
        asyncio.run(hang())
        """
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'module_utils'}"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (70, "alive")
    assert "event loop" in ended.stderr
    assert "hang" in ended.stderr  # where it hung
