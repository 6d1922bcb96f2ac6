"""Password checks of strangers: a flood of them keeps nothing else waiting, and does not become a queue."""

from __future__ import annotations

import asyncio
import threading

from api.auth.hashing import Hashing


def test_a_flood_of_checks_has_threads_of_its_own_and_no_long_queue() -> None:
    hashing, over = Hashing(), threading.Event()
    workers: set[str] = set()

    def check() -> int:
        workers.add(threading.current_thread().name)
        over.wait(30)
        return 401

    async def flood() -> list[int]:
        waiting = [asyncio.create_task(hashing.run(check)) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.gather(*(hashing.run(check) for _ in range(50))) == [429] * 50
        # What everything else uses is free.
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "at once"), 10) == "at once"
        over.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(flood()) == [401] * 100
    assert len(workers) == 2
    # And it goes on when the flood is over.
    assert asyncio.run(hashing.run(lambda: 204)) == 204
    hashing.close()
