"""Clones on several machines: each machine's seats wait for, and fail with, their own machine's image only."""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message
from atelier.common.models import CONTROLLER, GIB, Node, Status, Workspace
from atelier.containers.context import Context
from atelier.containers.seat_http import DIRECT
from atelier.database.claims import Claims, Participant
from atelier.database.placement import Machine
from atelier.engine.models import Image
from atelier.workspaces import cloning, service
from atelier.workspaces.cloning import CloneOrder, clone
from atelier.workspaces.credentials_csv import CredentialsCsv
from support import container, context, open_store, order, site

ALL = (CONTROLLER, "alpha", "beta")
REMOTE = "10.0.0.10:5000/test/snapshot:one"


class Installation:
    """Three machines. ``made`` are the seats' images by name, in the order in which the seats were made."""

    def __init__(self, folder: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        nodes = tuple(Node(name, f"unix:///{name}") for name in ALL[1:])
        self.here = replace(site(folder), nodes=nodes, image_registry="10.0.0.10:5000")
        self.pushes = 0
        self.silent = False
        self.pull: Any = lambda node: None
        self.made: dict[str, str] = {}
        engines: Any = SimpleNamespace(
            of=self._engine,
            route=lambda _: DIRECT,
            # The controller has the source's memory besides.
            machines=lambda: [Machine(name, (66 if name == CONTROLLER else 64) * GIB) for name in ALL],
            node_labels=lambda wanted, otherwise="": otherwise,
        )
        self.context: Context = replace(context(self.here, store, None), engines=engines)
        monkeypatch.setattr(Context, "sync_routes", lambda _: None)
        monkeypatch.setattr(Context, "sync_ports", lambda _: None)
        monkeypatch.setattr(Context, "cpus", lambda _: 2)
        monkeypatch.setattr(cloning, "leftover_snapshots", lambda _: [])
        monkeypatch.setattr(cloning, "discard_container", lambda *_: None)
        monkeypatch.setattr(cloning, "end_access", lambda *_: None)
        monkeypatch.setattr(cloning, "repository_for", lambda *_, **__: nullcontext(lambda: None))
        image = Image("sha256:1", ["test/snapshot:one"], (), {})
        monkeypatch.setattr(cloning, "snapshot", lambda there, *_, **__: nullcontext((there, image)))
        monkeypatch.setattr(cloning, "publish", self._publish)
        monkeypatch.setattr(cloning, "make_seat", self._make)

    def _engine(self, node: str) -> Any:
        return SimpleNamespace(pull=lambda _: self.pull(node))

    def _publish(self, *_: object) -> None:
        self.pushes += 1
        if self.silent:
            raise AtelierError(Code.ENGINE_ERROR, as_message("The registry does not answer."))

    def _make(self, here: Any, row: Workspace, image: str, *_: object) -> None:
        self.made[row.name] = image
        here.store.update(row.id, status=Status.RUNNING)

    def clone(self, count: int) -> dict[str, tuple[str, str | None]]:
        """The machine and the error of each clone, by name."""
        seats = clone(self.context, CloneOrder(source="one", count=count))["seats"]
        return {str(seat["name"]): (str(seat["node"]), seat["error"] and str(seat["error"])) for seat in seats}  # type: ignore[misc]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("one")])
        store.update(row.id, status=Status.RUNNING)
        yield Installation(tmp_path, store, monkeypatch)


def test_a_snapshot_is_pushed_once_and_each_machine_uses_its_own_name(installed: Installation) -> None:
    found = installed.clone(6)
    assert sorted(node for node, _ in found.values()) == sorted(ALL * 2)
    assert {error for _, error in found.values()} == {None}
    assert installed.pushes == 1
    assert all(
        installed.made[name] == ("sha256:1" if node == CONTROLLER else REMOTE) for name, (node, _) in found.items()
    )


def test_without_the_registry_only_seats_of_other_machines_fail(installed: Installation) -> None:
    installed.silent = True
    found = installed.clone(6)
    assert {node for node, error in found.values() if error is None} == {CONTROLLER}
    told = {error for node, error in found.values() if node != CONTROLLER}
    assert len(told) == 1
    assert "The registry does not answer" in str(told)
    rows = {row.name: row for row in installed.context.store.all() if row.cloned_from}
    assert {row.status for row in rows.values() if row.node == CONTROLLER} == {Status.RUNNING}
    assert {row.status for row in rows.values() if row.node != CONTROLLER} == {Status.ERROR}


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_seat_that_was_not_released_is_not_started_with_the_others(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    """It would be free again, with its former participant's files. Its release may fail while others are made."""
    store, names, started = installed.context.store, ("one 1", "one 2"), list[str]()
    installed.clone(2)
    left = store.get(name="one 1")
    engine = SimpleNamespace(inspect=lambda name: container("exited", name=name))
    monkeypatch.setattr(installed.context.engines, "of", lambda _: engine)
    monkeypatch.setattr(installed.context.engines, "memory", dict, raising=False)
    monkeypatch.setattr(service, "bring_up", lambda _, row: started.append(row.name))
    if meanwhile:
        monkeypatch.setattr(cloning, "_note", lambda *_: store.update(left.id, unreleased="Docker is away."))
    else:
        store.update(left.id, unreleased="Docker is away.")
        seats = clone(installed.context, CloneOrder(source="one", names=names), check_mode=True)["seats"]
        assert [seat["changed"] for seat in seats] == [False, True]
    seats = clone(installed.context, CloneOrder(source="one", names=names))["seats"]
    assert [seat["changed"] for seat in seats] == [True, True]
    assert started == ["one 2"]
    assert "The release of 'one 1' failed" in str(seats[0]["error"])
    assert store.get(name="one 1").unreleased


def test_a_seat_whose_upgrade_was_killed_is_not_made_again(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container has the name of a kept one, and is removed some day if the seat has another."""
    started: list[str] = []
    installed.clone(1)
    installed.made.clear()
    seat = installed.context.store.get(name="one 1")
    name = installed.here.container_name(seat.id)
    names = [f"{name}-kept-20260101t000000000000z", f"{name}-new"]
    engine = SimpleNamespace(
        inspect=lambda asked: container(name=asked) if asked in names else None,
        container_names=lambda _: dict.fromkeys(names, seat.id),
    )
    monkeypatch.setattr(installed.context.engines, "of", lambda _: engine)
    monkeypatch.setattr(cloning, "_start", lambda _, seat, **__: bool(started.append(seat.workspace.name)))
    clone(installed.context, CloneOrder(source="one", names=["one 1"]))
    assert (installed.made, started) == ({}, ["one 1"])


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("by", ["claim", "release", "another password"])
def test_a_seat_keeps_the_password_that_the_sheet_does_not_know(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str, gone: bool
) -> None:
    """A claim shows its password to its participant alone, and nobody knows the one of a release."""
    store, wanted = installed.context.store, dict[str, str | None]()
    names = ("one 1", "one 2")
    for name in names:
        store.reserve([order(name, cloned_from=store.get(name="one").id, password_hash="$own")])
        store.update(store.get(name=name).id, status=Status.RUNNING)
    claims = Claims(store, "one")
    if by == "another password":
        store.update(store.get(name="one 1").id, password_hash="$other")
    else:
        claims.claim([Participant("Ann", "ann@example.com")])
    if by == "release":
        claims.release(store.get(name="one 1").id)
    before = store.get(name="one 1").password_hash
    sheet = CredentialsCsv(tmp_path / "seats.csv")
    for name in names:
        sheet.note(name, f"card of {name}")
    monkeypatch.setattr(cloning, "container_of", lambda _, row: None if gone else container(name=row.name))
    monkeypatch.setattr(cloning, "previous_container", lambda *_: None)
    monkeypatch.setattr(cloning, "_start", lambda _, seat: bool(wanted.update({seat.workspace.name: seat.password})))
    clone(installed.context, CloneOrder(source="one", names=names, generate_passwords=True, sheet=sheet))
    if gone:
        assert store.get(name="one 1").password_hash == before
        assert store.get(name="one 2").password_hash != "$own"
    else:
        assert wanted == {"one 1": None, "one 2": "card of one 2"}
    assert [sheet.password(name) for name in names] == ["card of one 1", "card of one 2"]


@pytest.mark.parametrize("names", [["one 1"], ["one 1", "one 2"]])
def test_a_seat_whose_files_are_in_a_backup_is_not_made_again(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    installed.clone(2)
    installed.made.clear()
    left, why = installed.context.store.get(name="one 1"), Message("backup.not_restored", why="It was full.")
    installed.context.store.update(left.id, status=Status.ERROR, error=why)
    monkeypatch.setattr(cloning, "container_of", lambda *_: None)
    monkeypatch.setattr(cloning, "previous_container", lambda *_: None)
    for _ in range(2):
        with suppress(AtelierError):
            clone(installed.context, CloneOrder(source="one", names=names))
    assert list(installed.made) == names[1:]
    assert installed.context.store.get(id=left.id).error == why


@pytest.mark.parametrize("names", [["one 1", "one 2"], ["one 2", "one 1"]])
@pytest.mark.parametrize("fault", ["snapshot", "make_seat"])
def test_a_run_that_fails_leaves_each_seat_its_own_error(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, names: list[str], fault: str
) -> None:
    """The next run may not make the one whose files are in a backup, and has to make the other one."""
    installed.clone(2)
    left, why = installed.context.store.get(name="one 1"), Message("backup.not_restored", why="It was full.")
    installed.context.store.update(left.id, status=Status.ERROR, error=why)
    monkeypatch.setattr(cloning, "container_of", lambda *_: None)
    monkeypatch.setattr(cloning, "previous_container", lambda *_: None)

    def fail(*_: object, **__: object) -> Any:
        raise AtelierError(Code.SNAPSHOT_FAILED, as_message("It is too large."))

    monkeypatch.setattr(cloning, fault, fail)
    with pytest.raises(AtelierError):
        clone(installed.context, CloneOrder(source="one", names=names))
    assert installed.context.store.get(id=left.id).error == why
    assert "It is too large" in str(installed.context.store.get(name="one 2").error)


def test_an_interrupted_creation_stays_one_whose_password_nobody_saw(installed: Installation, tmp_path: Path) -> None:
    """Two runs were killed; the second one had hashed the sheet's password once more."""
    store = installed.context.store
    store.reserve([order("one 1", cloned_from=store.get(name="one").id, password_hash="$first")])
    store.update(store.get(name="one 1").id, password_hash="$second")
    sheet = CredentialsCsv(tmp_path / "seats.csv")
    sheet.note("one 1", "card of one 1")
    wanted = CloneOrder(source="one", names=["one 1"], generate_passwords=True, sheet=sheet)
    assert clone(installed.context, wanted)["seats"][0]["password"] == "card of one 1"


def test_seats_of_one_machine_do_not_wait_for_the_image_of_another(installed: Installation) -> None:
    others_are_made = threading.Event()

    def pull(node: str) -> None:
        assert node != "alpha" or others_are_made.wait(10), "the others wait for alpha"

    def make(here: Any, row: Workspace, *_: object) -> None:
        Installation._make(installed, here, row, "")
        if len(installed.made) == 16:
            others_are_made.set()

    installed.pull = pull
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cloning, "make_seat", make)
        found = installed.clone(24)
    assert len(installed.made) == 24
    assert {error for _, error in found.values()} == {None}
