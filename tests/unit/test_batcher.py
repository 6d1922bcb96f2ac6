"""Calls that share a run: each gets its own result, regardless of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from api.core.batcher import Batcher, Waiting


class Service:
    """Doubles numbers; fails as a whole for a batch with a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.batcher: Batcher[int, int] = Batcher("doubling", self._serve)

    async def _serve(self, batch: Sequence[Waiting[int, int]]) -> None:
        self.batches.append([one.wish for one in batch])
        await asyncio.sleep(0)
        for one in batch:
            if one.wish == 13:
                raise ValueError("13")
            one.end(2 * one.wish)


def test_all_that_wait_share_the_next_run() -> None:
    async def day() -> tuple[list[int], Service]:
        service = Service()
        return await asyncio.gather(*(service.batcher.call(number) for number in range(200, 400))), service

    results, service = asyncio.run(day())
    assert results == [2 * number for number in range(200, 400)]
    assert len(service.batches) <= 2


def test_a_run_that_fails_fails_for_those_without_a_result_and_the_next_goes_on() -> None:
    async def day() -> list[object]:
        service = Service()
        calls = [asyncio.create_task(service.batcher.call(number)) for number in (1, 13, 3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        return [*results, await service.batcher.call(4)]

    first, failed, third, later = asyncio.run(day())
    assert (first, later) == (2, 8)
    assert isinstance(failed, ValueError) and failed is third


def test_calls_that_come_within_a_moment_share_the_first_run() -> None:
    async def day() -> list[list[int]]:
        service = Service()
        batcher: Batcher[int, int] = Batcher("doubling", service._serve, runs=2, gather=0.02)
        calls = []
        for number in range(1, 5):
            calls.append(asyncio.create_task(batcher.call(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        return service.batches

    assert asyncio.run(day()) == [[1, 2, 3, 4]]


def test_a_caller_that_has_gone_harms_nobody() -> None:
    async def day() -> int:
        service = Service()
        gone, stays = (asyncio.create_task(service.batcher.call(number)) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(day()) == 4
