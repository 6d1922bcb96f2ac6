"""What the API samples of running containers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from api.sampler import Sampler


def test_a_container_that_ends_meanwhile_is_left_out() -> None:
    seen = {id: SimpleNamespace(container=SimpleNamespace(id=id, status="running")) for id in ("ended", "running")}
    sampler = Sampler("unix:///nowhere", SimpleNamespace(seen=seen))  # type: ignore[arg-type]
    running = {"cpu_stats": {"cpu_usage": {"total_usage": 10**9}}, "memory_stats": {"usage": 4096}}

    def stats(id: str, **_: Any) -> dict[str, Any]:
        return running if id == "running" else {"name": "", "id": ""}

    sampler._sample_seats(SimpleNamespace(stats=stats))  # type: ignore[arg-type]

    assert set(sampler.usage) == {"running"}
