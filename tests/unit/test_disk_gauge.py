"""Measurements of a seat's disk usage, and the figures of one that cannot be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import CONTROLLER, Node
from atelier.containers import engines
from atelier.containers.engines import Engines
from atelier.engine.models import Container
from support import container, site

from api.monitoring.disk_gauge import LONGEST_WALK_SECONDS, DiskGauge


class Docker:
    """One container with that status and size; None for a container that is gone, or that cannot be measured."""

    def __init__(self, status: str | None, size: int | None) -> None:
        self.status, self.size = status, size

    def written(self, name: str) -> int:
        if self.size is None:
            raise AtelierError(Code.ENGINE_ERROR, as_message(f"{name} cannot be measured."))
        return self.size

    def inspect(self, _: str) -> Container | None:
        return container(self.status) if self.status else None

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "size", "used", "seconds"),
    [
        ("running", 70, 70, 0),
        ("paused", 70, 70, 0),
        ("running", None, 0, LONGEST_WALK_SECONDS),
        # A reset, a release or a teardown came in between: neither size nor time are those of the seat.
        ("exited", 70, 0, 0),
        ("exited", None, 0, 0),
        (None, None, 0, 0),
    ],
)
def test_a_container_that_was_replaced_meanwhile_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None, size: int | None, used: int, seconds: float
) -> None:
    monkeypatch.setattr(engines, "open_engine", lambda *_, **__: Docker(status, size))
    gauge = DiskGauge(site(tmp_path))
    for _ in range(2):  # the second look uses what the first has found
        found = gauge.measure(CONTROLLER, {"id": "c"}, with_writes=False)["id"]
        assert (found.used, found.walk_seconds) == (used, pytest.approx(seconds, abs=1))


def test_each_machine_has_its_own_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dockers = {CONTROLLER: Docker("running", 70), "alpha": Docker("running", 30)}
    monkeypatch.setattr(engines, "open_engine", lambda _, node, **__: dockers[node])
    monkeypatch.setattr(Engines, "down", lambda _: set())
    gauge = DiskGauge(replace(site(tmp_path), nodes=(Node("alpha", "unix:///alpha"),)))
    gauge.measure(CONTROLLER, {"one": "c"}, with_writes=False)
    gauge.measure("alpha", {"two": "c"}, with_writes=False)
    assert gauge.sizes == {"one": 70, "two": 30}
    gauge.measure(CONTROLLER, {}, with_writes=False)
    assert gauge.sizes == {"two": 30}
