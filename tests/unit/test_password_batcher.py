"""Simultaneous requests for fresh passwords: few runs, and each caller gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.passwords import verify_password
from atelier.database.workspace_store import WorkspaceStore
from support import open_store, order

from api.auth.middleware import Caller
from api.core.batcher import Batcher, Run, Wish
from api.core.password_batcher import MOST_AT_ONCE, password_batcher
from api.runner.adapter import Ended
from api.runner.operations import HASHES
from api.services import passwords
from tests.waiting import reached, still_waits

REFUSED = AtelierError(Code.IDE_NOT_READY, as_message("It does not answer."))


class Playbook:
    """Notes the runs; each lasts until it is let go, and fails for those in ``failing``."""

    def __init__(self, *failing: str) -> None:
        self.runs: list[list[str]] = []
        self.go = asyncio.Event()
        self._failing = failing

    async def __call__(self, hashes: Mapping[str, str], done: Callable[[str], None]) -> Mapping[str, AtelierError]:
        assert all(hash.startswith(f"hash of {id}") for id, hash in hashes.items())
        self.runs.append(list(hashes))
        await self.go.wait()
        return {id: REFUSED for id in hashes if id in self._failing}


def wanted(batcher: Batcher[Wish, None], run: Run, *ids: str) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(batcher.call(Wish(id, run, f"hash of {id}", "somebody"))) for id in ids]


def test_fifty_at_once_are_few_runs() -> None:
    async def day() -> list[list[str]]:
        batcher, playbook = password_batcher(), Playbook()
        first = wanted(batcher, playbook, "a", "b")
        await reached(lambda: playbook.runs, "the first run")
        rest = wanted(batcher, playbook, *(f"seat {number}" for number in range(50)))
        assert await still_waits(rest[0])
        assert len(playbook.runs) <= 2
        playbook.go.set()
        await asyncio.gather(*first, *rest)
        return playbook.runs

    runs = asyncio.run(day())
    assert len(runs) <= 2 + 50 / MOST_AT_ONCE
    assert sorted(id for run in runs for id in run) == sorted(["a", "b", *(f"seat {number}" for number in range(50))])


def test_one_that_fails_fails_alone() -> None:
    async def day() -> list[object]:
        playbook = Playbook("b")
        playbook.go.set()
        return list(await asyncio.gather(*wanted(password_batcher(), playbook, "a", "b"), return_exceptions=True))

    assert asyncio.run(day()) == [None, REFUSED]


def test_who_has_the_new_password_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while another seat of the run is not ready, and where the run as a whole fails in the end."""
    monkeypatch.setattr(passwords, "_LOOK_SECONDS", 0.01)

    async def day(store: WorkspaceStore) -> list[object]:
        end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        hashes: dict[str, str] = {}

        async def start_job(_: object, __: object, operation: str, ids: list[str], variables: Any) -> tuple[Any, None]:
            assert operation == "password" and ids == list(variables[HASHES])
            hashes.update(variables[HASHES])
            return SimpleNamespace(id="a job"), None

        async def first_result(_: str) -> Ended:
            return await asyncio.shield(end)

        monkeypatch.setattr(passwords, "start_job", start_job)
        services: Any = SimpleNamespace(
            reads=store,
            row=lambda id: store.find(id=id),
            require_docker=lambda: None,
            password_batcher=password_batcher(),
            queue=SimpleNamespace(first_result=first_result),
        )
        rows = store.reserve([order(name) for name in ("a", "b", "c")])
        asked = {
            row.id: asyncio.create_task(passwords.new_password(services, Caller("", "admin"), row.id)) for row in rows
        }
        await reached(lambda: len(hashes) == 2, "both runs")
        first, second = hashes
        store.update(first, password_hash=hashes[first])
        assert verify_password(hashes[first], await asyncio.wait_for(asked.pop(first), 5))
        assert not asked[second].done()
        store.update(second, password_hash=hashes[second])
        end.set_result(Ended("failed", {}, REFUSED))
        assert verify_password(hashes[second], await asked.pop(second))
        (third,) = asked.values()
        return list(await asyncio.gather(third, return_exceptions=True))

    with open_store(tmp_path) as store:
        assert asyncio.run(day(store)) == [REFUSED]


@pytest.mark.parametrize("fault", [REFUSED, RuntimeError("a bug")])
def test_a_run_that_fails_fails_for_all_of_it_and_the_next_goes_on(fault: Exception) -> None:
    async def broken(hashes: Mapping[str, str], done: Callable[[str], None]) -> Mapping[str, AtelierError]:
        raise fault

    async def day() -> None:
        batcher, playbook = password_batcher(), Playbook()
        told = await asyncio.gather(*wanted(batcher, broken, "a", "b"), return_exceptions=True)
        assert told == [fault, fault]
        playbook.go.set()
        await asyncio.gather(*wanted(batcher, playbook, "a", "b"))

    asyncio.run(day())


def test_the_same_seat_twice_gets_both_one_after_the_other() -> None:
    async def day() -> list[list[str]]:
        batcher, playbook = password_batcher(), Playbook()
        playbook.go.set()
        await asyncio.gather(*wanted(batcher, playbook, "a", "a", "b", "b", "c", "a"))
        return playbook.runs

    runs = asyncio.run(day())
    assert all(len(run) == len(set(run)) for run in runs)
    assert sorted(id for run in runs for id in run) == ["a", "a", "a", "b", "b", "c"]


def test_runs_are_one_callers() -> None:
    async def day() -> None:
        batcher, playbook = password_batcher(), Playbook()
        playbook.go.set()
        callers = ["loopback", "admin", "loopback", "admin"]
        await asyncio.gather(
            *(batcher.call(Wish(str(n), playbook, f"hash of {n}", caller)) for n, caller in enumerate(callers))
        )
        assert all(len({callers[int(id)] for id in run}) == 1 for run in playbook.runs)

    asyncio.run(day())


def test_who_waits_for_a_run_that_the_apis_end_cuts_off_waits_no_longer() -> None:
    async def day() -> None:
        batcher, playbook = password_batcher(), Playbook()
        (asking,) = wanted(batcher, playbook, "a")
        await reached(lambda: playbook.runs, "the run")
        for task in asyncio.all_tasks():
            if task.get_name() == "passwords":
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(day())
