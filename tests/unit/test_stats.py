"""What the API samples of running containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import Node
from atelier.engine.interface import ContainerStats
from support import container, site

from api.monitoring.disk_gauge import Space, space_at
from api.monitoring.stats import Sampler


def test_a_container_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    seen = {id: container(id=id) for id in ("ended", "running")}
    sampler = Sampler(site(tmp_path), SimpleNamespace(seen_at=lambda _: seen))  # type: ignore[arg-type]

    def stats(id: str) -> ContainerStats | None:
        return ContainerStats(1.0, 4096, 0, 0) if id == "running" else None

    sampler._threads["controller"]._sample_seats(SimpleNamespace(stats=stats))  # type: ignore[arg-type]

    assert set(sampler.usage) == {"running"}


def test_a_nodes_connections_are_asked_of_its_gateway(tmp_path: Path) -> None:
    table = "head\n   1: 010012AC:C350 100012AC:1F92 01 00000000:00000000\n"
    nodes = (Node("alpha", "unix:///alpha"),)
    sampler = Sampler(replace(site(tmp_path), nodes=nodes), SimpleNamespace())  # type: ignore[arg-type]
    thread = sampler._threads["alpha"]
    assert sampler.connections("alpha") is None and sampler.connections("lost") is None

    def execute(name: str, command: Sequence[str], **_: object) -> tuple[int, str]:
        assert name == "test-node-gateway"
        if command[-1] == "/proc/net/tcp":
            return 0, table
        return 0, "head\n 300 1000 90 100\n"

    thread._look(SimpleNamespace(execute=execute))  # type: ignore[arg-type]
    assert sampler.connections("alpha") == {"172.18.0.16": 1}
    assert sampler.disk("alpha") == Space(300, 1000, inodes_short=False)

    def fail(*_: object, **__: object) -> None:
        raise AtelierError(Code.NODE_UNAVAILABLE, as_message("away"))

    thread._look_due = 0.0
    with pytest.raises(AtelierError):
        thread._look(SimpleNamespace(execute=fail))  # type: ignore[arg-type]
    assert sampler.connections("alpha") is None, "nobody knows"


def test_a_nodes_disk_is_asked_of_its_gateway() -> None:
    asked: list[str] = []

    def engine(output: str) -> Any:
        def execute(name: str, command: Sequence[str], **_: object) -> tuple[int, str]:
            asked.append(name)
            return 0, output

        return SimpleNamespace(execute=execute)

    head = "     Avail   1B-blocks  IFree  Inodes\n"
    assert space_at(engine(f"{head}  300  1000  90  100\n"), "test") == Space(300, 1000, inodes_short=False)
    assert space_at(engine(f"{head}  300  1000  1  100\n"), "test") == Space(300, 1000, inodes_short=True)
    assert space_at(engine(f"{head}  300  1000  0  0\n"), "test") == Space(300, 1000, inodes_short=False)
    assert space_at(engine("df: no such file"), "test") is None
    assert set(asked) == {"test-node-gateway"}
