"""Simultaneous requests for fresh passwords: few runs, and each caller gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message

from api.core.password_batcher import MOST_AT_ONCE, PasswordBatcher
from tests.waiting import reached, still_waits

REFUSED = AtelierError(Code.IDE_NOT_READY, as_message("It does not answer."))


class Playbook:
    """Notes the runs; each lasts until it is let go, and fails for those in ``failing``."""

    def __init__(self, *failing: str) -> None:
        self.runs: list[list[str]] = []
        self.go = asyncio.Event()
        self._failing = failing

    async def __call__(self, hashes: Mapping[str, str]) -> Mapping[str, AtelierError]:
        assert all(hash.startswith(f"hash of {id}") for id, hash in hashes.items())
        self.runs.append(list(hashes))
        await self.go.wait()
        return {id: REFUSED for id in hashes if id in self._failing}


def wanted(
    batcher: PasswordBatcher,
    run: Callable[[Mapping[str, str]], Awaitable[Mapping[str, AtelierError]]],
    *ids: str,
    applied: Callable[[Mapping[str, str]], Collection[str]] = lambda _: (),
) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(batcher.change("somebody", id, f"hash of {id}", run, applied)) for id in ids]


def test_fifty_at_once_are_few_runs() -> None:
    async def day() -> list[list[str]]:
        batcher, playbook = PasswordBatcher(), Playbook()
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
        return list(await asyncio.gather(*wanted(PasswordBatcher(), playbook, "a", "b"), return_exceptions=True))

    assert asyncio.run(day()) == [None, REFUSED]


def test_who_has_the_new_password_is_told_at_once() -> None:
    """Also while another seat of the run is not ready, and where the run as a whole fails in the end."""

    async def day() -> list[object]:
        go, has_it = asyncio.Event(), {"a"}

        async def held_up(hashes: Mapping[str, str]) -> Mapping[str, AtelierError]:
            await go.wait()
            raise REFUSED

        tasks = wanted(PasswordBatcher(), held_up, "a", "b", "c", applied=lambda hashes: has_it & hashes.keys())
        await asyncio.wait_for(tasks[0], 5)
        assert not tasks[1].done()
        has_it.add("b")
        go.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    assert asyncio.run(day()) == [None, None, REFUSED]


@pytest.mark.parametrize("fault", [REFUSED, RuntimeError("a bug")])
def test_a_run_that_fails_fails_for_all_of_it_and_the_next_goes_on(fault: Exception) -> None:
    async def broken(hashes: Mapping[str, str]) -> Mapping[str, AtelierError]:
        raise fault

    async def day() -> None:
        batcher, playbook = PasswordBatcher(), Playbook()
        told = await asyncio.gather(*wanted(batcher, broken, "a", "b"), return_exceptions=True)
        assert told == [fault, fault]
        playbook.go.set()
        await asyncio.gather(*wanted(batcher, playbook, "a", "b"))

    asyncio.run(day())


def test_the_same_seat_twice_gets_both_one_after_the_other() -> None:
    async def day() -> list[list[str]]:
        batcher, playbook = PasswordBatcher(), Playbook()
        playbook.go.set()
        await asyncio.gather(*wanted(batcher, playbook, "a", "a", "b", "b", "c", "a"))
        return playbook.runs

    runs = asyncio.run(day())
    assert all(len(run) == len(set(run)) for run in runs)
    assert sorted(id for run in runs for id in run) == ["a", "a", "a", "b", "b", "c"]


def test_runs_are_one_callers() -> None:
    async def day() -> None:
        batcher, playbook = PasswordBatcher(), Playbook()
        playbook.go.set()
        callers = ["loopback", "admin", "loopback", "admin"]
        await asyncio.gather(
            *(
                batcher.change(caller, str(n), f"hash of {n}", playbook, lambda _: ())
                for n, caller in enumerate(callers)
            )
        )
        assert all(len({callers[int(id)] for id in run}) == 1 for run in playbook.runs)

    asyncio.run(day())


def test_who_waits_for_a_run_that_the_apis_end_cuts_off_waits_no_longer() -> None:
    async def day() -> None:
        batcher, playbook = PasswordBatcher(), Playbook()
        (asking,) = wanted(batcher, playbook, "a")
        await reached(lambda: playbook.runs, "the run")
        for task in asyncio.all_tasks():
            if task.get_name() == "passwords":
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(day())
