"""What is measured of a seat's disk, and what is known of one that cannot be measured."""

from __future__ import annotations

from typing import cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.engine.client import DockerEngine
from atelier.engine.interface import Container

from api.monitoring.disk_gauge import LONGEST_WALK_SECONDS, DiskGauge


class Docker:
    """Containers as the test sets them; none can be measured."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def written(self, container: str) -> int:
        raise AtelierError(Code.ENGINE_ERROR, f"{container} cannot be measured.")

    def inspect(self, container: str) -> Container | None:
        return cast(Container, object()) if container in self.names else None

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("names", "seconds"), [((), 0), (("c",), LONGEST_WALK_SECONDS)])
def test_only_a_container_that_is_there_has_too_many_files(names: tuple[str, ...], seconds: float) -> None:
    gauge = DiskGauge("unix:///nowhere")
    gauge._engine = lambda: cast(DockerEngine, Docker(*names))  # type: ignore[method-assign]
    for _ in range(2):  # the second look believes the first
        assert gauge.measure({"id": "c"}, with_writes=False)["id"].walk_seconds == pytest.approx(seconds, abs=1)
