"""What the API samples of running containers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from atelier.engine.interface import ContainerStats
from support import container, site

from api.monitoring.stats import Sampler


def test_a_container_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    seen = {id: container(id=id) for id in ("ended", "running")}
    sampler = Sampler(site(tmp_path), SimpleNamespace(seen_at=lambda _: seen))  # type: ignore[arg-type]

    def stats(id: str) -> ContainerStats | None:
        return ContainerStats(1.0, 4096, 0, 0) if id == "running" else None

    sampler._threads[0]._sample_seats(SimpleNamespace(stats=stats))  # type: ignore[arg-type]

    assert set(sampler.usage) == {"running"}
