"""Password checks of strangers: a flood of them keeps nothing else waiting, and does not become a queue."""

from __future__ import annotations

import asyncio
import threading

from atelier.gateway.aliases import Alias

from api.auth.alias_auth import AliasAuth

ALIAS = Alias("demo", "0123456789ab", 80, "guest", "$argon2id$x")


class Slow(AliasAuth):
    """Checks last until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.workers: set[str] = set()

    def check(self, alias: Alias, authorization: str, caller: str) -> int:
        self.workers.add(threading.current_thread().name)
        self.over.wait(30)
        return 401


def test_a_flood_of_checks_has_threads_of_its_own_and_no_long_queue() -> None:
    slow = Slow()

    async def flood() -> list[int]:
        waiting = [asyncio.create_task(slow.admission(ALIAS, "Basic x", "1.2.3.4")) for _ in range(100)]
        await asyncio.sleep(0)
        late = await asyncio.gather(*(slow.admission(ALIAS, "Basic x", "1.2.3.4") for _ in range(50)))
        assert late == [429] * 50
        # What everything else uses is free.
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "at once"), 10) == "at once"
        slow.over.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(flood()) == [401] * 100
    assert len(slow.workers) == 2
    # And it goes on when the flood is over.
    assert asyncio.run(slow.admission(ALIAS, "Basic x", "1.2.3.4")) == 401
    slow.close()
