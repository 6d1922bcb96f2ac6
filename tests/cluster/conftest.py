"""The installation on three machines, one for each file that wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .installation import Cluster, three_machines
from .machines import Machine


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """``VARIABLES`` of the file are set, too."""
    with three_machines(tmp_path_factory.mktemp("three"), **getattr(request.module, "VARIABLES", {})) as made:
        yield made


@pytest.fixture
def alpha(cluster: Cluster) -> Machine:
    return cluster.machine("alpha")


@pytest.fixture
def beta(cluster: Cluster) -> Machine:
    return cluster.machine("beta")
