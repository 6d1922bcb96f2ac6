"""Work on several workspaces: an unforeseen error concerns the workspace that it came from, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from atelier.common.models import Status
from atelier.containers.context import Context
from atelier.workspaces import cloning, lost_machine, move, side_by_side
from support import context, open_store, order, site

Errors = Mapping[str, str | None]


class Engine:
    """Has no containers."""

    def cpus(self) -> int:
        return 2

    def inspect(self, name: str) -> None:
        """There is none."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Context]:
    with open_store(tmp_path) as store:
        for row in store.reserve([order("odd"), order("good")]):
            store.update(row.id, status=Status.STOPPED)
        yield context(site(tmp_path), store, Engine())


def drain(here: Context) -> Errors:
    return {seat.id: seat.error for seat in move.drain(here, "controller")[1]}


def begin(here: Context) -> Errors:
    return {seat.id: seat.error for seat in lost_machine.begin_elsewhere(here, node="controller")}


def revive(here: Context) -> Errors:
    return {seat.id: seat.error for seat in side_by_side.revive(here, [row.id for row in here.store.all()])}


def set_passwords(here: Context) -> Errors:
    hashes = {row.id: "$argon2id$" for row in here.store.all()}
    return {seat.id: seat.error for seat in side_by_side.set_passwords(here, hashes)}


def clone(here: Context) -> Errors:
    seats = [cloning._Seat(row, make=True) for row in here.store.all()]
    image: Future[str] = Future()
    image.set_result("image")
    cloning._finish(here, {"controller": image}, seats)
    return {seat.workspace.id: seat.error and seat.error.sentence for seat in seats}


@pytest.mark.parametrize(
    ("run", "module", "name"),
    [
        (drain, move, "move"),
        (begin, lost_machine, "_begin"),
        (revive, side_by_side, "container_of"),
        (set_passwords, side_by_side, "ensure"),
        (clone, cloning, "_finish_one"),
    ],
)
def test_the_others_are_done(
    here: Context, monkeypatch: pytest.MonkeyPatch, run: Callable[[Context], Errors], module: ModuleType, name: str
) -> None:
    odd, good = here.store.all()

    def broken(*given: object, **named: object) -> SimpleNamespace | lost_machine.BegunSeat | None:
        if odd.id in repr((given, named)):
            raise ValueError("a seat's word")
        if run is begin:
            return lost_machine.BegunSeat(good.id, good.name, good.node)
        return None if run is revive else SimpleNamespace(changed=True, after={"node": "alpha"})

    monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(move, "set_availability", lambda *_, **__: False)
    monkeypatch.setattr(lost_machine, "is_lost", lambda *_: True)
    monkeypatch.setattr(side_by_side, "wanted_up", lambda _: {odd.id, good.id})
    errors = run(here)
    assert errors[good.id] is None
    assert "caused an internal error: ValueError (test_unforeseen_errors.py:" in str(errors[odd.id])
    assert "a seat's word" not in str(errors[odd.id])
