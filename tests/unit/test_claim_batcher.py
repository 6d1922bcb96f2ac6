"""Assignment of seats to claims; repeated claims of a seat whose password cannot be set cause few jobs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import CONTROLLER, GIB, Status
from atelier.database.claims import Claim, Claims, ClaimStatus, Occupancy, Participant
from atelier.database.placement import Machine
from support import open_store, order

from api.services import claim_batcher
from api.services.claim_batcher import ClaimBatcher, out_of_reach

BROKEN = AtelierError(Code.IDE_NOT_READY, as_message("It does not answer."), remedy=as_message("Look at its log."))
AWAY = AtelierError(Code.SERVICE_UNAVAILABLE, as_message("Docker does not answer."))


class Clock:
    now = 1000.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


def claimed(at: str) -> Claim:
    return Claim("0123456789ab", "Workshop 1", "Max", "max@example.com", at, None, True)


class Day:
    """A participant who asks again and again; ``jobs`` counts the tries to set a password."""

    def __init__(self) -> None:
        self.batcher = ClaimBatcher(cast(Claims, None), tuple, password_pending=True)
        self.jobs = 0

    def ask(self, fault: AtelierError | None = BROKEN, at: str = "today") -> AtelierError | None:
        try:
            with self.batcher.password_delivery_lock(claimed(at)) as ours:
                assert ours
                self.jobs += 1
                if fault is not None:
                    raise fault
        except AtelierError as error:
            return error
        return None


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_batcher, "time", Clock)


def test_a_seat_that_takes_no_password_is_tried_ever_more_rarely() -> None:
    day = Day()
    assert day.ask() is BROKEN
    told = day.ask()
    assert told is not None and (told.code, told.message) == (BROKEN.code, BROKEN.message)
    assert told.details["retry_after"] == 11
    for _ in range(24 * 60):
        Clock.now += 60
        day.ask()
    assert 100 < day.jobs < 160  # in a day, by one who asks every minute


def test_a_new_claim_and_one_that_docker_kept_waiting_are_tried_at_once() -> None:
    day = Day()
    assert [day.ask(AWAY), day.ask(AWAY)] == [AWAY, AWAY]
    assert day.ask() is BROKEN
    assert day.ask(None, at="after a release") is None
    assert day.jobs == 4


def test_of_two_at_once_the_first_tells() -> None:
    batcher = Day().batcher
    with (
        batcher.password_delivery_lock(claimed("today")) as first,
        batcher.password_delivery_lock(claimed("today")) as second,
    ):
        assert (first, second) == (True, False)


def test_no_seat_of_a_machine_that_does_not_answer_is_given(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for number, node in enumerate((CONTROLLER, "alpha", "removed", "beta"), 1):
            (seat,) = store.reserve([order(f"day {number}", group="day")], [Machine(node, 64 * GIB)])
            store.update(seat.id, status=Status.RUNNING)
        claims = Claims(store, "day")
        # While the controller's Docker is away, nothing is known of any machine.
        away = out_of_reach(store, {"beta"}.__contains__)
        assert claims.occupancy(away) == Occupancy(4, 0, 2)
        people = [Participant("Max", f"{number}@example.com") for number in range(3)]
        given = claims.claim(people, leaving=lambda: away)
        assert [claim.seat_name for outcome in given if (claim := outcome.claim)] == ["day 1", "day 4"]
        assert given[-1].status is ClaimStatus.FULL
        assert claims.claim(people[-1:])[0].status is ClaimStatus.SEATED, "later"
