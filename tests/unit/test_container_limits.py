"""The limits of a seat's container, as Docker is asked for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.engine.client import Engine
from atelier.engine.container_limits import changed_limits, creation_limits, may_have_quota
from atelier.engine.models import SeatSpec

GIB = 1024**3
SPEC = SeatSpec(
    *("seat", "seat", "image", "network", "10.0.0.2", 2 * GIB, 4.0, {}, "volume", "/etc/code-server", {}, {}),
    disk=20 * GIB,
    file_size=8 * GIB,
)


def test_a_seat_yields_to_the_platform() -> None:
    asked = creation_limits(SPEC, cores=2, quota=0)
    assert (asked["cpu_shares"], asked["oom_score_adj"], asked["nano_cpus"]) == (64, 500, 2_000_000_000)
    assert {limit.name: limit.hard for limit in asked["ulimits"]} == {"nofile": 16384, "core": 0, "fsize": 8 * GIB}
    assert asked["storage_opt"] is None
    assert creation_limits(SPEC, cores=2, quota=5)["storage_opt"] == {"size": "5"}
    # Also one that an earlier version made, when it changes.
    assert changed_limits(GIB, 4.0, 2)["CpuShares"] == 64


@pytest.mark.parametrize(
    ("driver", "status", "may"),
    [
        ("overlay2", [["Backing Filesystem", "xfs"]], True),
        ("overlay2", [["Backing Filesystem", "extfs"]], False),
        ("btrfs", None, True),
        ("overlayfs", [["driver-type", "io.containerd.snapshotter.v1"]], False),
    ],
)
def test_drivers_with_a_quota(driver: str, status: Sequence[Sequence[str]] | None, may: bool) -> None:
    assert may_have_quota({"Driver": driver, "DriverStatus": status}) is may


class EngineOnXfs(Engine):
    """Docker on XFS, which refuses quotas or anything."""

    def __init__(self, *refused: int) -> None:
        self._refused = refused
        self.asked: list[int] = []
        # What the adapter keeps of its first question.
        self.__dict__["_info"] = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]]}

    def _create(self, spec: SeatSpec, quota: int) -> str:
        self.asked.append(quota)
        if quota in self._refused:
            raise AtelierError(Code.CONTAINER_CREATE_FAILED, as_message("no"))
        return "id"


def test_a_driver_that_refuses_the_quota_makes_the_container_without() -> None:
    with_quota, without, neither = EngineOnXfs(), EngineOnXfs(SPEC.disk), EngineOnXfs(0, SPEC.disk)
    assert (with_quota.create(SPEC), with_quota.asked) == ("id", [SPEC.disk])
    assert (without.create(SPEC), without.asked) == ("id", [SPEC.disk, 0])
    with pytest.raises(AtelierError):
        neither.create(SPEC)
