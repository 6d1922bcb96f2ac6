"""The limit that a rehearsal reports as the first, on one machine and on several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER, GIB
from atelier.database.placement import Machine, as_many_as_fit
from atelier.engine.machine import Disk, Memory, disk_at, memory_at
from atelier.workshop.rehearsal import Limit, _limits, _result

MANY = 1000
TWO = [Machine(CONTROLLER, 16 * GIB), Machine("alpha", 16 * GIB)]


def test_a_single_machine_is_not_named() -> None:
    caps = {"memory": {CONTROLLER: 7}, "disk": {CONTROLLER: 3}}
    assert _limits(None, caps) == [Limit("memory", 7), Limit("disk", 3)]
    assert Limit("memory", 7).view() == {"what": "memory", "seats": 7}
    assert Limit("memory", 7).words == "memory"


def test_the_machine_whose_limit_is_met_first_is_named() -> None:
    placed = as_many_as_fit(TWO, 2 * GIB, {"alpha": 4 * GIB}, MANY)
    # By promised memory eight fit on the controller and six on alpha. The third on alpha is the seventh seat.
    caps = {"memory": {CONTROLLER: 100, "alpha": 100}, "disk": {CONTROLLER: 5, "alpha": 2}}
    assert len(placed) == 14
    (disk,) = _limits(placed, caps)
    assert disk == Limit("disk", 6, "alpha")
    assert disk.view() == {"what": "disk", "seats": 6, "node": "alpha"}
    assert str(disk.words) == "disk of alpha"
    # One that was not measured limits nothing, and no more are looked at than other limits allow.
    assert _limits(placed, {"disk": {CONTROLLER: 100}}) == []
    assert _limits(placed[:3], caps) == []


def test_machines_that_take_nothing_have_room_for_none() -> None:
    assert as_many_as_fit([], 2 * GIB, {}, MANY) == []
    assert _limits([], {"memory": {CONTROLLER: 7}}) == []


def test_a_verdict_names_the_machine_only_where_there_are_several() -> None:
    verdict = _result(2, [], Limit("memory", 7))["verdict"]
    assert verdict["first_limit"] == {"what": "memory", "seats": 7}


@pytest.mark.parametrize(
    ("reasons", "checks"),
    [
        ([], dict.fromkeys(["room", "made", "opened", "fast", "egress", "capacity"])),
        (
            [Message("slow", seconds="12.0"), Message("enough_for", what="memory", seats=1)],
            {
                **dict.fromkeys(["room", "made", "opened", "egress"]),
                "fast": "A seat takes 12.0 s to open when all are opened at once.",
                "capacity": "The memory is enough for 1 seats.",
            },
        ),
        # The others were never made.
        (
            [Message("room_for", what="running", seats=1, wanted=5)],
            {"room": "running allows 1 more seats, 5 are wanted."},
        ),
    ],
)
def test_a_verdict_is_its_checks(reasons: list[Message], checks: dict[str, str | None]) -> None:
    found = _result(2, reasons, Limit("memory", 7))
    assert found["verdict"]["go"] is (not reasons)
    assert {check["name"]: check["fault"] for check in found["checks"]} == checks


def test_a_node_is_asked_through_its_gateways_container() -> None:
    def engine(output: str | AtelierError) -> Any:
        def execute(name: str, *_: object, **__: object) -> tuple[int, str]:
            assert name == "test-node-gateway"
            if isinstance(output, AtelierError):
                raise output
            return 0, output

        return SimpleNamespace(execute=execute)

    assert memory_at(engine("MemTotal: 16 kB\nMemAvailable:      8 kB\n"), "test") == Memory(8192, 16384)
    assert disk_at(engine("Avail 1B-blocks IFree Inodes\n 3 10 5 7\n"), "test") == Disk(3, 10, 5, 7)
    for nothing in ("", "df: not found", AtelierError(Code.NODE_UNAVAILABLE, Message("node_silent", node="a"))):
        assert memory_at(engine(nothing), "test") is None
        assert disk_at(engine(nothing), "test") is None


@pytest.mark.parametrize("most", [0, 1])
def test_no_more_than_the_quotas_allow_are_placed(most: int) -> None:
    assert len(as_many_as_fit(TWO, 2 * GIB, {}, most)) == most
