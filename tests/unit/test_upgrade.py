"""Upgrades of seats: what they keep, a failed one gets its old container back, and killed runs."""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message
from atelier.common.models import ArchiveLimits, Status, Workspace
from atelier.containers import container as seats
from atelier.containers.context import Context
from atelier.database.intent import stopped_on_purpose, wanted_up
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import Container, File, Image, SeatSpec
from atelier.workshop import upgrade as upgrades
from atelier.workshop.upgrade import FOLDERS, UpgradedSeat, upgrade
from atelier.workspaces import service
from atelier.workspaces.plan import WorkspaceSpec, WorkspaceState
from support import container, context, open_store, order, quotas, refused, site

OLD, NEW = {"atelier.inputs": "old"}, {"atelier.inputs": "new"}


def archive(name: str) -> bytes:
    """A tar archive with an empty file, without its end."""
    return tarfile.TarInfo(name).tobuf()


class Engine:
    """Containers by name, and the template's image. Starting a new container fails if ``broken`` says so."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.templates: Mapping[str, Mapping[str, str]] = {"test/workspace:empty": NEW}
        self.copied: list[tuple[str, str]] = []
        self.received: dict[tuple[str, str], bytes] = {}
        self.broken = ""

    def cpus(self) -> int:
        return 2

    def inspect(self, name: str) -> Container | None:
        return self.containers.get(name)

    def image(self, tag: str) -> Image | None:
        labels = self.templates.get(tag)
        return Image("sha256:1", [tag], (), labels) if labels is not None else None

    def images(self, label: str) -> list[Image]:
        return []

    def container_names(self, label: str) -> dict[str, str]:
        return dict.fromkeys(self.containers, "")

    def written(self, name: str) -> int:
        late = self.broken == "late size" and self.containers[name].status == "exited"
        if self.broken == name:
            raise ZeroDivisionError
        return 100 * 1024**3 if late or self.broken == "size" else 1

    def free_space(self) -> int:
        return 1024**3 if self.broken == "room" else 100 * 1024**3

    def create(self, spec: SeatSpec) -> None:
        labels = {**self.templates[spec.image], **spec.labels}
        self.containers[spec.name] = container("created", name=spec.name, labels=labels)

    def stream(self, source: str, folder: str, _: float) -> Generator[bytes]:
        assert self.containers[source].status == "exited"
        if self.broken == "copy":
            raise AtelierError(Code.DISK_FULL, as_message("The disk is full."))
        self.copied.append((source, folder))
        while True:
            yield archive("x")
            if self.broken != "endless":
                yield bytes(1024)
                return

    def unpack(self, target: str, parent: str, content: Iterator[bytes]) -> None:
        self.received[target, parent] = b"".join(content)

    def put(self, name: str, folder: str, files: Sequence[File]) -> None:
        """Nothing."""

    def start(self, name: str) -> None:
        if self.broken == "killed":
            raise KeyboardInterrupt
        if self.broken == "start" and self.containers[name].labels["atelier.inputs"] == "new":
            raise AtelierError(Code.CONTAINER_CREATE_FAILED, as_message("It does not start."))
        self._set(name, "running")
        if self.broken == "killed after the start":
            raise KeyboardInterrupt

    def stop(self, name: str) -> None:
        self._set(name, "exited")

    def _set(self, name: str, status: str) -> None:
        self.containers[name] = replace(self.containers[name], status=status)

    def rename(self, old: str, new: str) -> None:
        if self.broken == "killed between the names" and old.endswith("-new"):
            raise KeyboardInterrupt
        self.containers[new] = replace(self.containers.pop(old), name=new)

    def remove(self, name: str) -> None:
        self.containers.pop(name, None)


@dataclass
class World:
    engine: Engine
    store: WorkspaceStore
    here: Context

    def seat(self, name: str = "Seat", *, running: bool = True, labels: Mapping[str, str] = OLD) -> Workspace:
        (row,) = self.store.reserve([order(name, group="day")])
        self.store.update(row.id, status=Status.RUNNING)
        if not running:
            stopped_on_purpose(self.store, row.id)
        known = self.here.site.container_name(row.id)
        status = "running" if running else "exited"
        self.engine.containers[known] = container(status, id=known, name=known, labels=labels)
        return self.store.get(id=row.id)

    def upgrade(self, row: Workspace) -> UpgradedSeat:
        (seat,) = upgrade(self.here, id=row.id, keep_hours=24)
        return seat

    def state(self, row: Workspace) -> tuple[str, str, str, bool]:
        """The digest of the container's image, the container's status, the row's, and whether it should run."""
        found = self.engine.containers[self.here.site.container_name(row.id)]
        status = str(self.store.get(id=row.id).status)
        return found.labels["atelier.inputs"], found.status, status, row.id in wanted_up(self.store)

    def others(self, row: Workspace) -> list[str]:
        own = self.here.site.container_name(row.id)
        return [name for name in self.engine.containers if name.startswith(f"{own}-")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    engine = Engine()
    with open_store(tmp_path) as store:
        here = replace(site(tmp_path), archive=ArchiveLimits(entries=1000))
        yield World(engine, store, context(here, store, engine))


RUNS, STOPPED = ("running", "running", True), ("exited", "stopped", False)


@pytest.mark.parametrize("running", [True, False])
def test_a_seat_gets_the_present_image_with_its_folders(world: World, running: bool) -> None:
    row = world.seat(running=running)
    orders = world.store.get(id=row.id)
    seat = world.upgrade(row)
    assert (seat.changed, seat.error) == (True, None)
    assert world.state(row) == ("new", *(RUNS if running else STOPPED))
    assert world.store.get(id=row.id) == orders
    # The old one is there for a while, stopped.
    assert world.others(row) == [seat.kept]
    assert (world.engine.containers[str(seat.kept)].status, FOLDERS) == ("exited", ("/workspace", "/home/coder"))
    name = world.here.site.container_name(row.id)
    assert world.engine.copied == [(name, folder) for folder in FOLDERS]
    assert world.engine.received == dict.fromkeys(
        ((f"{name}-new", "/"), (f"{name}-new", "/home")), archive("x") + bytes(1024)
    )
    # Again, there is nothing to do.
    assert world.upgrade(row) == UpgradedSeat(row.id, "Seat")


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("broken", ["start", "copy", "size", "late size", "endless", "room"])
def test_a_seat_whose_upgrade_fails_is_as_it_was(world: World, broken: str, running: bool) -> None:
    row = world.seat(running=running)
    world.engine.broken = broken
    with pytest.raises(AtelierError) as error:
        world.upgrade(row)
    assert world.state(row) == ("old", *(RUNS if running else STOPPED))
    assert world.others(row) == []
    if broken in ("size", "late size", "endless"):
        assert "'Seat'" in refused(error, Code.SNAPSHOT_FAILED, "source" if "size" in broken else "name")
    if broken == "start":
        assert "did not come up" in refused(error, Code.CONTAINER_CREATE_FAILED, "name")


def test_a_silent_ide_goes_back_and_one_that_does_not_either_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = world.seat()
    silent = {"new"}

    def await_ide(here: Context, asked: Workspace) -> None:
        if world.state(asked)[0] in silent:
            world.store.update(asked.id, status=Status.ERROR, error=Message("container_gone"))
            raise AtelierError(Code.IDE_NOT_READY, as_message("It is silent."))

    monkeypatch.setattr(seats, "await_ide", await_ide)
    with pytest.raises(AtelierError, match=r"has its old container again: .*It is silent\."):
        world.upgrade(row)
    assert world.state(row) == ("old", *RUNS)
    assert world.store.get(id=row.id).error is None
    silent.add("old")
    with pytest.raises(AtelierError, match="neither with the present image nor with its old container"):
        world.upgrade(row)
    assert world.state(row)[0] == "old"
    assert world.store.get(id=row.id).status is Status.ERROR


@pytest.mark.parametrize(
    ("broken", "running"),
    [
        ("killed", True),
        ("killed", False),
        ("killed between the names", True),
        ("killed between the names", False),
        ("killed after the start", False),
    ],
)
def test_a_killed_upgrade_is_completed_by_the_next(world: World, broken: str, running: bool) -> None:
    row = world.seat(running=running)
    world.engine.broken = broken
    with pytest.raises(KeyboardInterrupt):
        world.upgrade(row)
    world.engine.broken = ""
    seat = world.upgrade(row)
    assert seat.changed
    assert world.state(row) == ("new", *(RUNS if running else STOPPED))
    assert world.others(row) == [seat.kept]


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_seat_whose_upgrade_was_killed_starts_with_its_old_container(
    world: World, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    monkeypatch.setattr(service, "await_ide", lambda *_: None)
    row = world.seat()
    world.engine.broken = "killed between the names"
    with pytest.raises(KeyboardInterrupt):
        world.upgrade(row)
    world.engine.broken = ""
    before = dict(world.engine.containers)
    desired = WorkspaceSpec(state=WorkspaceState.STARTED, id=row.id)
    outcome = service.ensure(world.here, desired, check_mode=check_mode)
    assert (outcome.changed, outcome.after["status"], list(outcome.warnings)) == (True, "running", [])
    if check_mode:
        assert world.engine.containers == before
    else:
        assert world.state(row) == ("old", *RUNS)


def test_the_next_run_takes_a_killed_one_back_if_its_seat_does_not_come_up(world: World) -> None:
    row = world.seat()
    world.engine.broken = "killed"
    with pytest.raises(KeyboardInterrupt):
        world.upgrade(row)
    world.engine.broken = "start"
    with pytest.raises(AtelierError, match="has its old container again"):
        world.upgrade(row)
    assert world.state(row) == ("old", *RUNS)
    assert world.others(row) == []


def test_of_a_group_one_that_fails_leaves_the_others(world: World) -> None:
    good, odd, gone, other = (world.seat(name) for name in ("Good", "Odd", "Gone", "Other"))
    world.store.update(other.id, group_name="elsewhere")
    del world.engine.containers[world.here.site.container_name(gone.id)]
    with world.store.transaction() as db:
        db.execute("UPDATE workspaces SET template = 'lost' WHERE id = ?", (odd.id,))
    # Foretold first, without a change.
    foretold = upgrade(world.here, group="day", keep_hours=24, check_mode=True)
    assert [(seat.name, seat.changed) for seat in foretold] == [("Good", True), ("Odd", False), ("Gone", False)]
    assert world.state(good)[0] == "old"

    seats = upgrade(world.here, group="day", keep_hours=24)
    assert [(seat.name, seat.changed) for seat in seats] == [("Good", True), ("Odd", False), ("Gone", False)]
    assert str(seats[1].error).startswith("Unknown template 'lost'.")
    assert "no container" in str(seats[2].error)
    assert [world.state(row)[0] for row in (good, odd, other)] == ["new", "old", "old"]
    assert [seat.changed for seat in upgrade(world.here, keep_hours=24)] == [False, False, False, True]


def test_an_error_that_nobody_thought_of_is_one_seats_alone(world: World) -> None:
    odd, good = world.seat("Odd"), world.seat("Good")
    world.engine.broken = world.here.site.container_name(odd.id)
    seats = upgrade(world.here, group="day", keep_hours=24)
    assert [(seat.name, seat.changed) for seat in seats] == [("Odd", False), ("Good", True)]
    assert str(seats[0].error).startswith("'Odd' caused an internal error: ZeroDivisionError (test_upgrade.py:")
    assert world.state(good)[0] == "new"


def test_a_template_that_is_gone_is_named_and_nothing_is_changed(world: World) -> None:
    row = world.seat()
    world.engine.templates = {}
    with pytest.raises(AtelierError) as error:
        world.upgrade(row)
    refused(error, Code.INVALID_PROJECT_TYPE, "template")
    assert world.state(row) == ("old", *RUNS)


def test_an_unreleased_seat_stays_so(world: World) -> None:
    row = world.seat()
    world.store.update(row.id, unreleased="Git is away.")
    world.upgrade(row)
    assert world.state(row) == ("new", *RUNS)
    assert world.store.get(id=row.id).unreleased == "Git is away."


def test_a_seat_that_should_run_but_may_not_is_as_it_was(world: World, tmp_path: Path) -> None:
    row = world.seat()
    world.engine.stop(world.here.site.container_name(row.id))
    world.store.update(row.id, status=Status.STOPPED)
    with open_store(tmp_path, quotas(concurrent=0)) as full:
        here = replace(world.here, store=full)
        with pytest.raises(AtelierError) as error:
            upgrades.upgrade(here, id=row.id, keep_hours=24)
    assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
    assert world.state(row)[:2] == ("old", "exited")
    assert world.others(row) == []
