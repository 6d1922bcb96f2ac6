"""Checkpoints in the image registry, and their use when a machine is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier import reconcile
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message, id_of
from atelier.common.models import CONTROLLER, GIB, Node, Site, Status, Workspace
from atelier.containers import distribution, snapshots
from atelier.containers.container import seat_spec
from atelier.containers.context import Context
from atelier.containers.seat_http import DIRECT
from atelier.database.claims import Claims, Participant
from atelier.database.intent import stopped_on_purpose, wanted_up
from atelier.database.migrations import nodes_of
from atelier.database.placement import Machine
from atelier.database.workspace_store import WorkspaceStore, now
from atelier.engine.docker_errors import Place
from atelier.engine.models import Container, Image, SeatSpec, SwarmNode
from atelier.reconcile import (
    Drift,
    _image_registry,
    _misplaced_checkpoints,
    _Node,
    _past,
    _row_drift,
    repair_all,
)
from atelier.workshop.collect import collect, remove_collected
from atelier.workshop.manifest import Entry, write_manifest
from atelier.workspaces import checkpoints, lost_machine
from atelier.workspaces import move as moves
from atelier.workspaces import reset as resets
from atelier.workspaces import service as services
from atelier.workspaces.checkpoints import (
    Checkpoint,
    checkpoints_among,
    fetch_checkpoint,
    leave_checkpoints,
    newest_checkpoint,
    stored_checkpoints,
    take_checkpoint,
)
from atelier.workspaces.lost_machine import begin_elsewhere, remove_machine
from atelier.workspaces.move import move
from atelier.workspaces.plan import WorkspaceSpec, WorkspaceState
from atelier.workspaces.reset import origin_of, reset
from atelier.workspaces.service import ensure
from atelier.workspaces.side_by_side import Revived, revive
from atelier.workspaces.views import list_workspaces
from support import container, context, open_store, order, refused, site

REGISTRY = "10.0.0.10:5000"


class Engine:
    """A machine's Docker: images by name, containers by name; pushes to and pulls from ``registry``."""

    def __init__(self, registry: dict[str, str]) -> None:
        self.registry, self.images, self.containers = registry, dict[str, str](), dict[str, SeatSpec]()
        self.status = "created"
        self.fault: AtelierError | None = None
        self.members: list[SwarmNode] = []

    def image(self, name: str) -> Image | None:
        found = self.images.get(name)
        return Image(found, [name], (), {}) if found else None

    def image_tags(self, label: str) -> list[str]:
        return list(self.images)

    def tag(self, image: str, name: str) -> None:
        self.images[name] = image

    def remove_image(self, name: str, *, force: bool = False) -> bool:
        return self.images.pop(name, None) is not None

    def push(self, name: str) -> None:
        if "silent" in self.registry:
            raise AtelierError(Code.ENGINE_ERROR, as_message("The registry is off."))
        self.registry[name.removeprefix(f"{REGISTRY}/")] = self.images[name]

    def pull(self, name: str) -> Image:
        self.images[name] = self.registry[name.removeprefix(f"{REGISTRY}/")]
        return Image(self.images[name], [name], (), {})

    def inspect(self, name: str) -> Container | None:
        if name not in self.containers:
            return None
        spec = self.containers[name]
        return container(self.status, name=name, labels=spec.labels if spec else {})

    def create(self, spec: SeatSpec) -> None:
        if self.fault:
            raise self.fault
        assert spec.image in self.images
        self.containers[spec.name] = spec

    def rename(self, name: str, new: str) -> None:
        self.containers[new] = self.containers.pop(name)

    def container_names(self, label: str) -> dict[str, str]:
        return {name: spec.labels["atelier.workspace"] for name, spec in self.containers.items() if spec}

    def stop(self, name: str) -> None:
        self.status = "exited"

    def update_limits(self, container: str, memory: int, cpus: float) -> None:
        """Nothing."""

    def remove_volume(self, volume: str) -> bool:
        return False

    def remove(self, name: str) -> None:
        self.containers.pop(name, None)

    def swarm_nodes(self) -> list[SwarmNode]:
        return self.members

    def remove_node(self, id: str) -> None:
        self.members = [member for member in self.members if member.id != id]


class Machines:
    """The engines of the controller, alpha and beta; those in ``lost`` do not answer."""

    def __init__(self, registry: dict[str, str]) -> None:
        self.all = {name: Engine(registry) for name in (CONTROLLER, "alpha", "beta")}
        self.lost: set[str] = set()
        # The memory of machines that have other than 64 GiB.
        self.room: dict[str, int] = {}

    def of(self, node: str) -> Any:
        if node in self.lost or node not in self.all:
            raise Place("https://10.0.0.11:2376", node).unreachable("ConnectionError")
        return self.all[node]

    def route(self, node: str) -> Any:
        return DIRECT

    def machines(self) -> list[Machine]:
        return [Machine(name, size) for name, size in self.memory().items() if name not in self.lost]

    def memory(self) -> dict[str, int]:
        return {name: self.room.get(name, 64 * GIB) for name in self.all}

    def swarm_members(self) -> dict[str, SwarmNode]:
        return {node.id: node for node in self.all[CONTROLLER].swarm_nodes()}


class Installation:
    """Three machines and a registry; its workspaces are on alpha."""

    def __init__(self, folder: Path, store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
        nodes = (Node("alpha", "https://10.0.0.11:2376"), Node("beta", "https://10.0.0.12:2376"))
        self.site: Site = replace(site(folder), nodes=nodes, image_registry=REGISTRY)
        self.registry: dict[str, str] = {}
        self.machines, self.store = Machines(self.registry), store
        self.context = context(self.site, store, None)
        self.context = replace(self.context, engines=self.machines)  # type: ignore[arg-type]
        self.started: list[tuple[str, str]] = []
        self.asked = 0
        # What a killed run leaves: the start that is under way raises this once.
        self.killed: type[BaseException] | None = None
        monkeypatch.setattr(distribution, "_registry", lambda _: self)
        monkeypatch.setattr(type(self.context), "sync_routes", lambda _: None)
        for module in (checkpoints, resets):
            monkeypatch.setattr(module, "snapshot", self.snapshot)

        def start(there: Any, row: Workspace, fill: Any) -> None:
            killed, self.killed = self.killed, None
            if killed:
                raise killed
            fill()
            self.started.append((there.node, row.name))

        monkeypatch.setattr(resets, "start_seat", start)

    # --- The registry ---

    def names(self, repository: str) -> list[str]:
        self.asked += 1
        if "silent" in self.registry:
            raise AtelierError(Code.ENGINE_ERROR, as_message("The registry is off."))
        return [name for name in self.registry if name.startswith(f"{repository}:")]

    def delete(self, name: str) -> bool:
        self.names("")
        return self.registry.pop(name, None) is not None

    # --- The rest ---

    @contextmanager
    def snapshot(self, there: Any, row: Workspace, run: str) -> Iterator[tuple[Any, Image]]:
        yield there, Image(f"sha256:{row.name}", [], (), {})

    def seat(self, name: str, *, stopped: bool = False, **values: Any) -> Workspace:
        (row,) = self.store.reserve([order(name, **values)], [Machine("alpha", 64 * GIB)])
        self.store.update(row.id, status=Status.RUNNING)
        if stopped:
            stopped_on_purpose(self.store, row.id)
        return self.store.get(id=row.id)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with open_store(tmp_path) as store:
        yield Installation(tmp_path, store, monkeypatch)


def test_a_checkpoint_is_on_its_machine_and_in_the_registry(installed: Installation) -> None:
    row = installed.seat("one")
    for _ in range(6):
        outcome = take_checkpoint(installed.context, id=row.id, name=None)
        assert outcome.changed and outcome.problem is None
    names = [found.tag for found in outcome.checkpoints]
    assert sorted(installed.registry) == sorted(installed.machines.all["alpha"].images) == names
    assert len(names) == 5, "the oldest is in neither"
    assert not take_checkpoint(installed.context, id=row.id, name=None, run_id="r1").problem
    again = take_checkpoint(installed.context, id=row.id, name=None, run_id="r1")
    assert not again.changed and len(again.checkpoints) == 5


class PulledAtOnce(Engine):
    """Two pulls of an image end together; the second looks at the image when the first one's run is done with it."""

    def __init__(self, registry: dict[str, str]) -> None:
        super().__init__(registry)
        self.pulls, self.done = threading.Barrier(2), threading.Event()

    def remove_image(self, name: str, *, force: bool = False) -> bool:
        removed = super().remove_image(name, force=force)
        self.done.set()
        return removed

    def pull(self, name: str) -> Image:
        super().pull(name)
        with suppress(threading.BrokenBarrierError):
            if self.pulls.wait(0.5) == 1:
                self.done.wait(5)
        if (found := self.image(name)) is None:
            raise AtelierError(Code.SNAPSHOT_FAILED, Message("docker.image_vanished", tag=name))
        return found


def test_a_snapshot_is_taken_where_a_move_brought_its_source(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone waits while its source is being moved."""
    row = installed.seat("one")
    monkeypatch.setattr(snapshots, "_take", lambda here, *_: Image(here.node, [], (), {}))
    monkeypatch.setattr(snapshots, "_clear", lambda *_: None)

    def take() -> tuple[str, str]:
        with snapshots.snapshot(installed.context.on("alpha"), row, "0" * 12) as (here, image):
            return here.node, image.id

    with ThreadPoolExecutor(1) as pool:
        with installed.context.locks.workspace(row.id, 0):
            taken = pool.submit(take)
            installed.store.update(row.id, node="beta")
        assert taken.result() == ("beta", "beta")


def test_a_snapshot_is_used_on_the_machine_that_has_it(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = installed.seat("one")
    seat = installed.seat("one 1", cloned_from=base.id)
    in_container(installed, base)
    beta, name = installed.machines.all["beta"], "test/snapshot:1"

    @contextmanager
    def after_the_move(_: Any, row: Workspace, run: str) -> Iterator[tuple[Context, Image]]:
        installed.store.update(row.id, node="beta")
        beta.images[name] = "sha256:1"
        yield installed.context.on("beta"), Image("sha256:1", [name], (), {})

    for module in (checkpoints, resets):
        monkeypatch.setattr(module, "snapshot", after_the_move)
    with origin_of(installed.context.on("alpha"), seat, None, None) as (origin, image):
        assert (origin, image) == ("base", f"{REGISTRY}/{name}")
    installed.store.update(base.id, node="alpha")
    (taken,) = take_checkpoint(installed.context, id=base.id, name=None).checkpoints
    assert taken.tag in beta.images and taken.tag not in installed.machines.all["alpha"].images


def test_resets_side_by_side_fetch_one_checkpoint(installed: Installation) -> None:
    """The seats are on one machine, and their base is on another."""
    row = installed.seat("one")
    (found,) = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    beta = installed.machines.all["beta"] = PulledAtOnce(installed.registry)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(fetch_checkpoint, installed.context.on("beta"), found) for _ in range(2)]
        assert [run.result() for run in runs] == [found.tag] * 2
    assert list(beta.images) == [found.tag]


def test_a_registry_that_is_off_fails_no_checkpoint(installed: Installation) -> None:
    row = installed.seat("one")
    installed.registry["silent"] = ""
    outcome = take_checkpoint(installed.context, id=row.id, name=None)
    assert outcome.problem == Message(
        "checkpoint_not_stored", name="one", node="alpha", why=as_message("The registry is off.")
    )
    assert outcome.checkpoints == checkpoints_among("test", installed.machines.all["alpha"].images)
    # One that may have others must not be reset to something else.
    with pytest.raises(AtelierError, match="registry is off"):
        newest_checkpoint(installed.context.on("beta"), row.id)


def test_scheduled_checkpoints_are_for_lost_machines_only(installed: Installation) -> None:
    row = installed.seat("one")
    (asked_for,) = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    for _ in range(2):
        found = take_checkpoint(installed.context, id=row.id, name=None, run_id="scheduled").checkpoints
    assert [each.is_scheduled for each in found] == [False, True], "one is kept"
    here = installed.context.on("beta")
    assert newest_checkpoint(here, row.id) == asked_for, "what a reset begins from"
    for _ in range(5):
        found = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    assert len(found) == 6 and sum(each.is_scheduled for each in found) == 1
    last = take_checkpoint(installed.context, id=row.id, name=None, run_id="scheduled").checkpoints[-1]
    installed.machines.lost.add("alpha")
    (begun,) = begin_elsewhere(installed.context, id=row.id, to="beta")
    assert (begun.origin, begun.checkpoint) == ("checkpoint", last.taken_at)


def test_nobody_gets_the_checkpoint_of_a_seat_s_former_participant(installed: Installation) -> None:
    row, here = installed.seat("one 1", group="one"), installed.context.on("alpha")
    claims = Claims(installed.store, "one")

    def another_moment() -> None:
        before = now()
        while now() == before:
            pass

    def take(run_id: str | None = None) -> Checkpoint:
        another_moment()
        taken = take_checkpoint(installed.context, id=row.id, name=None, run_id=run_id).checkpoints[-1]
        another_moment()
        return taken

    prepared = take()
    claims.claim([Participant("Ann", "ann@example.com")])
    former = take()
    assert newest_checkpoint(here, row.id) == former, "while it is hers"
    take("scheduled")
    claims.release(row.id)
    take("scheduled")  # before the release has reset the seat
    for _ in range(2):
        for scheduled in (False, True):
            assert newest_checkpoint(here, row.id, scheduled=scheduled) == prepared
        claims.claim([Participant("Bob", "bob@example.com")])
    own = take("scheduled")
    assert newest_checkpoint(here, row.id, scheduled=True) == own


def test_checkpoints_follow_a_move(installed: Installation) -> None:
    row = installed.seat("one")
    taken = take_checkpoint(installed.context, id=row.id, name=None).checkpoints[0]
    installed.store.update(row.id, node="beta")
    leave_checkpoints(installed.context.on("alpha"), row.id)
    beta = installed.machines.all["beta"]
    assert not installed.machines.all["alpha"].images and not beta.images
    here = installed.context.on("beta")
    with origin_of(here, row, None, newest_checkpoint(here, row.id)) as (origin, image):
        assert (origin, image) == ("checkpoint", taken.tag)
    assert list(beta.images) == [taken.tag], "under the name that it had where it was made"
    # The next one is newer, and a release finds the older.
    later = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    assert newest_checkpoint(here, row.id) == later[-1] != taken
    assert newest_checkpoint(here, row.id, taken_before=taken.taken_at) is None


def test_what_no_machine_needs_is_removed_and_what_only_one_has_is_pushed(installed: Installation) -> None:
    row = installed.seat("one")
    for _ in range(2):
        take_checkpoint(installed.context, id=row.id, name=None)
    first, second = stored_checkpoints(installed.site)
    del installed.registry[second.tag]

    def drift() -> dict[str, str]:
        rows = {row.id: row for row in installed.store.all()}
        here = installed.context.on("alpha")
        found = [*_misplaced_checkpoints(here, stored_checkpoints(installed.site), rows, lambda _: False)]
        for difference in found:
            difference.repair()
        return {difference.subject: difference.kind for difference in found}

    assert drift() == {second.tag: "unstored_checkpoint"}
    assert drift() == {}
    installed.store.update(row.id, node="beta")
    assert drift() == dict.fromkeys((first.tag, second.tag), "leftover_checkpoint")
    assert not installed.machines.all["alpha"].images
    assert len(installed.registry) == 2


def test_what_is_made_during_a_repair_is_no_leftover(installed: Installation) -> None:
    """Its rows are read at the beginning: a workspace and its checkpoint may be newer."""
    row = installed.seat("one")
    (taken,) = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    kept = f"{installed.site.container_name(row.id)}-kept-20270301t120000000000z"
    alpha, here = installed.machines.all["alpha"], installed.context.on("alpha")
    alpha.containers[kept] = seat_spec(here, row, taken.tag, kept)
    nodes = [SimpleNamespace(here=installed.context.on(name)) for name in installed.machines.all]

    def repair() -> list[str]:
        found = [
            *_past(here, {}, set(), 1, lambda _: False),
            *_image_registry(installed.context, nodes, {}, set(), lambda _: False),  # type: ignore[arg-type]
        ]
        found = [difference for difference in found if difference.kind != "registry_garbage"]
        for difference in found:
            difference.repair()
        return [difference.subject for difference in found]

    assert repair() == [kept, taken.tag, taken.tag]
    assert (list(alpha.images), list(installed.registry), list(alpha.containers)) == ([taken.tag], [taken.tag], [kept])
    installed.store.delete(row.id)
    assert repair() == [kept, taken.tag, taken.tag]
    assert not (alpha.images or installed.registry or alpha.containers)


@pytest.mark.parametrize(("node", "repaired"), [("alpha", ["second"]), ("", [])])
def test_a_repair_that_fails_ends_no_other(installed: Installation, node: str, repaired: list[str]) -> None:
    """Unless the controller's Docker is away, which would fail them all."""
    made: list[str] = []

    def fail() -> None:
        raise Place("tcp://198.51.100.7:2376", node).unreachable("ConnectionError")

    message = Message("drift.node_lists", node="alpha")
    first = Drift("node_lists", "first", message, fail)
    second = Drift("node_lists", "second", message, partial(made.append, "second"))
    with pytest.raises(AtelierError):
        repair_all(installed.context, [first, second])
    assert made == repaired


def test_repairs_of_a_machine_that_stops_answering_are_left_to_the_next_run(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for two minutes there. A container of which Docker says nothing ends no other repair."""
    asked: list[str] = []
    silent = {"alpha"}
    monkeypatch.setattr(reconcile, "answers", lambda _, node: node not in silent)

    def wait(_: Engine, name: str) -> None:
        asked.append(name)
        raise AtelierError(Code.ENGINE_ERROR, Message("docker.too_long", attempt=Message("do.connect")))

    monkeypatch.setattr(Engine, "inspect", wait)
    rows = [installed.seat(name) for name in ("one", "two")]
    seen = _Node(installed.context.on("alpha"), {}, {}, ())
    drift = list(_row_drift(seen, rows, (), lambda _: False))
    for answering in (False, True):
        asked.clear()
        with pytest.raises(AtelierError):
            repair_all(installed.context, drift)
        names = [installed.site.container_name(row.id) for row in rows]
        assert asked == (names if answering else names[:1])
        silent.clear()


def test_a_checkpoint_that_a_reset_needs_stays_on_its_machine(installed: Installation) -> None:
    """The seat's base is on another machine."""
    base = installed.seat("one")
    seat = installed.seat("one 1", cloned_from=base.id)
    (taken,) = take_checkpoint(installed.context, id=base.id, name=None).checkpoints
    installed.store.update(base.id, node="beta")
    here, rows = installed.context.on("alpha"), {row.id: row for row in installed.store.all()}
    (found,) = _misplaced_checkpoints(here, [taken], rows, lambda _: False)
    with here.locks.workspace(seat.id, 0):
        found.repair()
        leave_checkpoints(here, base.id)
    assert list(installed.machines.all["alpha"].images) == [taken.tag]
    found.repair()
    assert not installed.machines.all["alpha"].images


def test_a_seat_begins_elsewhere_from_its_checkpoint(installed: Installation) -> None:
    row = installed.seat("one", password_hash="hash")
    (taken,) = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    with pytest.raises(AtelierError) as error:
        begin_elsewhere(installed.context, id=row.id)
    assert "alpha answers" in refused(error, Code.VALIDATION_ERROR, "origin")
    installed.machines.lost.add("alpha")
    with pytest.raises(AtelierError, match="takes no workspaces"):
        begin_elsewhere(installed.context, id=row.id, to="alpha")
    (foretold,) = begin_elsewhere(installed.context, id=row.id, to="beta", check_mode=True)
    (begun,) = begin_elsewhere(installed.context, id=row.id, to="beta")
    assert begun == foretold
    assert (begun.node, begun.origin, begun.checkpoint, begun.age) == ("beta", "checkpoint", taken.taken_at, 0)
    assert begun.lost and taken.taken_at in begun.lost and "0 minutes" in begun.lost
    now = installed.store.get(id=row.id)
    assert now == row._replace(node="beta")
    (spec,) = installed.machines.all["beta"].containers.values()
    assert (spec.image, spec.address) == (taken.tag, row.address)
    assert installed.started == [("beta", "one")]
    # It is where it answers now.
    with pytest.raises(AtelierError, match="beta answers"):
        begin_elsewhere(installed.context, id=row.id)


def test_the_registry_is_asked_once_for_the_checkpoint(installed: Installation) -> None:
    row = installed.seat("one")
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    installed.asked = 0
    begin_elsewhere(installed.context, id=row.id)
    assert installed.asked == 1


@pytest.mark.parametrize("chosen", ["id", "node", "group"])
def test_another_run_finishes_what_a_killed_one_began(installed: Installation, chosen: str) -> None:
    row = installed.seat("one", group="g")
    (taken,) = take_checkpoint(installed.context, id=row.id, name=None).checkpoints
    installed.machines.lost.add("alpha")
    wanted = {"id": {"id": row.id}, "node": {"node": "alpha"}, "group": {"group": "g"}}[chosen]
    installed.killed = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        begin_elsewhere(installed.context, **wanted, to="beta")
    assert installed.store.get(id=row.id).node == "beta"
    assert not installed.started
    made = dict(installed.machines.all["beta"].containers)
    foretold = begin_elsewhere(installed.context, **wanted, check_mode=True)
    (begun,) = begin_elsewhere(installed.context, **wanted)
    assert foretold == [begun]
    assert (begun.node, begun.origin, begun.checkpoint) == ("beta", "checkpoint", taken.taken_at)
    assert begun.lost and taken.taken_at in begun.lost
    assert installed.started == [("beta", "one")]
    assert installed.machines.all["beta"].containers == made, "the container that it has is used"
    # Now it is done.
    if chosen == "id":
        with pytest.raises(AtelierError, match="beta answers"):
            begin_elsewhere(installed.context, **wanted)
    else:
        assert begin_elsewhere(installed.context, **wanted) == []


def begun_by_a_killed_run(installed: Installation) -> Workspace:
    """A seat of alpha, which is lost, that a run began on beta and was killed before it started."""
    row = installed.seat("one")
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    installed.killed = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        begin_elsewhere(installed.context, id=row.id, to="beta")
    return row


@pytest.mark.parametrize("by", ["revive", "start"])
def test_a_start_finishes_what_a_killed_run_began(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The API starts what should run a moment after the run was killed. Without its credential the seat cannot push."""
    row = begun_by_a_killed_run(installed)
    monkeypatch.setattr(services, "await_ide", lambda *_: None)
    monkeypatch.setattr(type(installed.context), "cpus", lambda _: 1)
    installed.killed = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        ensure(installed.context, WorkspaceSpec(state=WorkspaceState.STARTED, id=row.id))
    if by == "revive":
        assert revive(installed.context, [row.id]) == [Revived(row.id, started=True)]
    else:
        assert ensure(installed.context, WorkspaceSpec(state=WorkspaceState.STARTED, id=row.id)).changed
    assert installed.started == [("beta", "one")], "with all that a new container gets"
    with pytest.raises(AtelierError, match="beta answers"):
        begin_elsewhere(installed.context, id=row.id)


def test_what_a_killed_run_began_on_a_machine_that_is_lost_too_begins_again(installed: Installation) -> None:
    row = begun_by_a_killed_run(installed)
    installed.machines.lost.add("beta")
    (begun,) = begin_elsewhere(installed.context, id=row.id)
    assert begun.node == CONTROLLER
    assert installed.started == [(CONTROLLER, "one")]


@pytest.fixture
def slow(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The seat "one", which has a branch, begins on beta from its template, but its IDE is slow. Returns whether each
    start of it replaced its files by those of its branch."""
    row = installed.seat("one")
    installed.store.update(row.id, repository="one", branch="main")
    installed.machines.all[CONTROLLER].images["test/workspace:empty"] = "sha256:template"
    installed.machines.lost.add("alpha")
    restored: list[bool] = []

    def start(there: Any, row: Workspace, *, restore: bool = False) -> None:
        restored.append(restore)
        if len(restored) == 1:
            there.engine.status = "running"
            raise AtelierError(Code.IDE_NOT_READY, as_message("It is slow."))

    monkeypatch.setattr(resets.TemplateImages, "require", lambda *_: None)
    monkeypatch.setattr(lost_machine, "start_filled", start)
    with pytest.raises(AtelierError, match="It is slow"):
        begin_elsewhere(installed.context, id=row.id, to="beta", or_base=True)
    return restored


def test_files_of_a_seat_that_came_up_late_are_not_replaced(installed: Installation, slow: list[bool]) -> None:
    (begun,) = begin_elsewhere(installed.context, name="one", or_base=True)
    assert begun.node == "beta"
    assert slow == [True, False], "only those of a container that never ran are"


@pytest.mark.parametrize("later", ["start", "move"])
def test_what_is_left_to_finish_is_so_after_a_later_start_or_move(
    installed: Installation, slow: list[bool], monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """Without its credential the seat cannot push."""
    row = installed.store.get(name="one")
    if later == "start":
        installed.store.claim_running_slot(row.id)
    else:
        monkeypatch.setattr(
            moves, "snapshot", lambda here, *_, **__: nullcontext((here, Image("sha256:1", ["one"], (), {})))
        )
        monkeypatch.setattr(moves, "image_at", lambda *_: "sha256:template")
        installed.machines.all[CONTROLLER].images["sha256:template"] = "sha256:template"
        monkeypatch.setattr(moves, "find_secrets", lambda *_: [])
        monkeypatch.setattr(moves, "git_files", lambda *_: {})
        # It is killed, with the seat's work in a container that never ran.
        monkeypatch.setattr(moves, "start_seat", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move(installed.context, id=row.id, name=None, to=CONTROLLER)
        assert installed.store.get(id=row.id).node == CONTROLLER
    (begun,) = begin_elsewhere(installed.context, id=row.id, or_base=True)
    assert begun.node == ("beta" if later == "start" else CONTROLLER)
    assert slow == [True, False], "the files of its branch replace no others"
    with pytest.raises(AtelierError, match=r"machine (beta|controller) answers"):
        begin_elsewhere(installed.context, id=row.id, or_base=True)


def test_a_reset_leaves_nothing_to_finish(installed: Installation) -> None:
    row = begun_by_a_killed_run(installed)
    reset(installed.context, id=row.id, name=None, keep_hours=1)
    assert installed.started == [("beta", "one")]
    with pytest.raises(AtelierError, match="beta answers"):
        begin_elsewhere(installed.context, id=row.id)


@pytest.mark.parametrize("notes", [None, "n"])
@pytest.mark.parametrize("status", ["created", "exited"])
def test_a_stop_of_what_is_down_already_is_for_good(installed: Installation, status: str, notes: str | None) -> None:
    """A move or a beginning elsewhere that was killed left it, or an outage of which the database knows nothing yet."""
    row = installed.seat("one")
    in_container(installed, row)
    installed.machines.all["alpha"].status = status
    ensure(installed.context, WorkspaceSpec(state=WorkspaceState.STOPPED, id=row.id, notes=notes))
    assert row.id not in wanted_up(installed.store)
    assert installed.store.get(id=row.id).status is Status.STOPPED


@pytest.fixture
def movable(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Moves without files."""
    monkeypatch.setattr(
        moves, "snapshot", lambda here, *_, **__: nullcontext((here, Image("sha256:1", ["one"], (), {})))
    )
    monkeypatch.setattr(moves, "image_at", lambda *_: "sha256:template")
    monkeypatch.setattr(moves, "find_secrets", lambda *_: [])
    monkeypatch.setattr(moves, "git_files", lambda *_: {})
    installed.machines.all["beta"].images["sha256:template"] = "sha256:template"
    return installed


def in_container(installed: Installation, row: Workspace) -> dict[str, SeatSpec]:
    """The containers of the row's machine, where it has one from now on."""
    there = installed.machines.all[row.node]
    spec: Any = None
    there.containers[installed.site.container_name(row.id)] = spec
    return there.containers


def test_a_machine_without_room_is_named_with_what_is_wanted_and_left(movable: Installation) -> None:
    row = movable.seat("one")
    movable.machines.room["beta"] = int(1.5 * GIB)
    with pytest.raises(AtelierError) as error:
        move(movable.context, id=row.id, name=None, to="beta")
    told = refused(error, Code.NO_ROOM, "site.nodes")
    for named in ("'one' needs 2.0 GiB", "beta has 1.5 GiB", "atelier_cluster_memory_overcommit"):
        assert named in told
    movable.machines.room[CONTROLLER] = GIB
    with pytest.raises(AtelierError) as error:
        move(movable.context, id=row.id, name=None)
    told = refused(error, Code.NO_ROOM, "site.nodes")
    for named in ("2.0 GiB", "beta 1.5 GiB", "controller 1.0 GiB"):
        assert named in told


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_running_seat_gets_no_more_memory_than_its_machine_has_left(
    installed: Installation, check_mode: bool
) -> None:
    row = installed.seat("one")
    in_container(installed, row)
    installed.machines.all["alpha"].status = "running"
    installed.machines.room["alpha"] = 3 * GIB

    def give(memory: str) -> bool:
        wanted = WorkspaceSpec(state=WorkspaceState.PRESENT, id=row.id, memory=memory)
        return ensure(installed.context, wanted, check_mode=check_mode).changed

    with pytest.raises(AtelierError) as error:
        give("4g")
    assert "'one' needs 4.0 GiB" in refused(error, Code.NO_ROOM, "site.nodes")
    # Less is never refused, whatever the machine has promised.
    installed.machines.room["alpha"] = 0
    assert give("1g")
    stopped_on_purpose(installed.store, row.id)
    installed.machines.all["alpha"].status = "exited"
    assert give("4g"), "one that stays stopped is promised nothing"


def test_a_move_whose_room_was_taken_meanwhile_is_undone(
    movable: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = movable.seat("one")
    here = in_container(movable, row)
    monkeypatch.setattr(movable.machines, "memory", lambda: {"alpha": 64 * GIB, "beta": GIB})
    monkeypatch.setattr(movable.machines, "machines", lambda: [Machine("beta", 64 * GIB)])
    with pytest.raises(AtelierError) as error:
        move(movable.context, id=row.id, name=None, to="beta")
    refused(error, Code.NO_ROOM, "site.nodes")
    assert movable.store.get(id=row.id) == row
    assert here and not movable.machines.all["beta"].containers
    # One that stays stopped is promised nothing.
    stopped_on_purpose(movable.store, row.id)
    assert move(movable.context, id=row.id, name=None, to="beta").after["node"] == "beta"


def test_a_lost_machines_seat_does_not_begin_where_the_room_was_taken_meanwhile(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = installed.seat("one")
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    with monkeypatch.context() as full, pytest.raises(AtelierError) as error:
        full.setattr(installed.machines, "memory", lambda: {"beta": GIB})
        full.setattr(installed.machines, "machines", lambda: [Machine("beta", 64 * GIB)])
        begin_elsewhere(installed.context, id=row.id, to="beta")
    refused(error, Code.NO_ROOM, "site.nodes")
    assert installed.store.get(id=row.id) == row
    assert not installed.machines.all["beta"].containers
    (begun,) = begin_elsewhere(installed.context, id=row.id, to="beta")
    assert begun.node == "beta"


def test_held_back_secrets_are_kept_until_the_seat_is_elsewhere(installed: Installation) -> None:
    row = installed.seat("one")
    take_checkpoint(installed.context, id=row.id, name=None)
    held = installed.site.state_dir / "snapshots" / f"{row.id}.json"
    held.parent.mkdir()
    held.write_text("{}")
    installed.machines.lost.add("alpha")
    beta = installed.machines.all["beta"]
    beta.fault = AtelierError(Code.ENGINE_ERROR, as_message("It is not made."))
    with pytest.raises(AtelierError, match="It is not made"):
        begin_elsewhere(installed.context, id=row.id, to="beta")
    assert held.exists(), "the machine may return"
    beta.fault = None
    begin_elsewhere(installed.context, id=row.id, to="beta")
    assert not held.exists()


def test_a_stopped_seat_that_a_killed_run_began_stays_stopped(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = installed.seat("one", stopped=True)
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(lost_machine, "renew_credential", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        begin_elsewhere(installed.context, id=row.id)
    (begun,) = begin_elsewhere(installed.context, id=row.id)
    assert begun.node != "alpha"
    assert installed.store.get(id=row.id).status is Status.STOPPED
    assert not installed.started


def test_a_stopped_seat_stays_stopped(installed: Installation) -> None:
    row = installed.seat("one", stopped=True)
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    begin_elsewhere(installed.context, id=row.id)
    assert installed.store.get(id=row.id).status is Status.STOPPED
    assert not installed.started


def test_a_seat_without_checkpoint_begins_only_where_that_is_wanted(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = installed.seat("one")
    installed.machines.lost.add("alpha")
    with pytest.raises(AtelierError) as error:
        begin_elsewhere(installed.context, id=row.id)
    assert "checkpoint_or_base" in refused(error, Code.VALIDATION_ERROR, "origin")
    assert installed.store.get(id=row.id) == row
    controller = installed.machines.all[CONTROLLER]
    controller.images["test/workspace:empty"] = "sha256:template"
    monkeypatch.setattr(resets.TemplateImages, "require", lambda *_: None)
    (begun,) = begin_elsewhere(installed.context, id=row.id, to="beta", or_base=True)
    assert (begun.origin, begun.checkpoint) == ("template", None)
    assert begun.lost and "had no checkpoint" in begun.lost


def test_all_of_a_machine_or_a_group_begin_elsewhere_and_each_failure_is_its_own(installed: Installation) -> None:
    one, two = installed.seat("one", group="g"), installed.seat("two", group="g")
    other = installed.seat("other", group="g")
    installed.store.update(other.id, node="beta")
    for row in (two, other):
        take_checkpoint(installed.context, id=row.id, name=None)
    with pytest.raises(AtelierError, match="alpha answers"):
        begin_elsewhere(installed.context, node="alpha")
    assert begin_elsewhere(installed.context, group="g") == []
    installed.machines.lost.add("alpha")
    stayed, begun = begin_elsewhere(installed.context, group="g")
    assert (stayed.id, stayed.node, stayed.origin) == (one.id, "alpha", None)
    assert stayed.error and "no checkpoint" in stayed.error
    assert (begun.id, begun.error) == (two.id, None)
    assert [seat.id for seat in begin_elsewhere(installed.context, node="alpha", check_mode=True)] == [one.id]


def test_a_machine_is_removed_when_nothing_of_it_is_lost_by_that(installed: Installation) -> None:
    controller = installed.machines.all[CONTROLLER]
    controller.members = [SwarmNode("alpha", {}, "ready", "active", "10.0.0.11", GIB, 1, "26")]
    row = installed.seat("one")
    for force, words in ((False, "has 1 workspaces"), (True, "answers and has 1")):
        with pytest.raises(AtelierError) as error:
            remove_machine(installed.context, "alpha", force=force)
        assert words in refused(error, Code.VALIDATION_ERROR, "name")
    with pytest.raises(AtelierError):
        remove_machine(installed.context, CONTROLLER)
    installed.machines.lost.add("alpha")
    with pytest.raises(AtelierError, match="move_from=checkpoint"):
        remove_machine(installed.context, "alpha")
    assert remove_machine(installed.context, "alpha", force=True, check_mode=True) == (True, False)
    assert controller.members
    assert remove_machine(installed.context, "alpha", force=True) == (True, False)
    assert not controller.members
    now = installed.store.get(id=row.id)
    assert (now.status, id_of(now.error)) == (Status.ERROR, "machine_removed")
    no_machine_answers = SimpleNamespace(at_each=lambda work: [], site=installed.site, store=installed.store)
    (shown,) = list_workspaces(no_machine_answers)  # type: ignore[arg-type]
    assert shown["error"] == now.error
    assert remove_machine(installed.context, "alpha", force=True) == (False, False), "another run changes nothing"
    # It can still begin elsewhere, which leaves nothing to hold up the removal.
    begin_elsewhere(installed.context, id=row.id, or_base=True, check_mode=True)
    installed.store.update(row.id, node="beta")
    assert remove_machine(installed.context, "alpha") == (False, False)


@pytest.mark.parametrize("removed", [False, True])
def test_a_seat_that_was_not_released_begins_elsewhere_without_becoming_free(
    installed: Installation, removed: bool
) -> None:
    """A checkpoint has its former participant's files."""
    row = installed.seat("one 1")
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    installed.store.update(row.id, unreleased="alpha does not answer.")
    if removed:
        remove_machine(installed.context, "alpha", force=True)
    begin_elsewhere(installed.context, id=row.id, to="beta")
    now = installed.store.get(id=row.id)
    assert (now.node, now.unreleased is not None, now.error) == ("beta", True, None)
    assert Claims(installed.store, "one").occupancy().available == 0


@pytest.mark.parametrize("released_first", [True, False])
def test_a_failed_release_and_the_removal_of_the_machine_are_both_known(
    installed: Installation, released_first: bool
) -> None:
    row = installed.seat("one")
    installed.machines.lost.add("alpha")
    steps = [
        lambda: installed.store.update(row.id, unreleased="alpha does not answer."),
        lambda: remove_machine(installed.context, "alpha", force=True),
    ]
    for step in steps if released_first else reversed(steps):
        step()
    now = installed.store.get(id=row.id)
    assert now.unreleased
    assert "machine alpha was removed" in str(now.error)
    with installed.store.reading() as db:
        assert nodes_of(db) == set(), "an installation without the machine can be set up again"
    assert remove_machine(installed.context, "alpha", force=True) == (False, False)
    assert ensure(installed.context, WorkspaceSpec(state=WorkspaceState.ABSENT, id=row.id)).changed


def test_a_seat_that_was_not_released_is_moved_without_becoming_free(movable: Installation) -> None:
    row = movable.seat("one")
    in_container(movable, row)
    movable.store.update(row.id, unreleased="Git is away.")
    assert move(movable.context, id=row.id, name=None, to="beta").after["status"] == "error"
    now = movable.store.get(id=row.id)
    assert (now.node, now.unreleased) == ("beta", "Git is away.")


@pytest.mark.parametrize(("seen", "status"), [("running", "running"), ("exited", "stopped"), (None, "error")])
def test_reconcile_ends_the_error_of_a_removed_machine_that_joined_again(
    installed: Installation, seen: str | None, status: str
) -> None:
    row = installed.seat("one", stopped=True)
    installed.machines.lost.add("alpha")
    remove_machine(installed.context, "alpha", force=True)
    installed.machines.lost.clear()
    alpha = installed.context.on("alpha")
    if seen:
        in_container(installed, row)
        alpha.engine.status = seen  # type: ignore[attr-defined]
    here = reconcile._Node(alpha, {row.id: container(seen)} if seen else {}, {}, ())
    (drift,) = reconcile._row_drift(here, installed.store.all(), (), lambda _: False)
    drift.repair()
    now = installed.store.get(id=row.id)
    assert (now.status, id_of(now.error)) == (status, None if seen else "container_gone")
    assert list(reconcile._row_drift(here, installed.store.all(), (), lambda _: False)) == []


def test_a_stopped_seat_of_a_removed_machine_that_joined_again_is_moved_without_that_error(
    movable: Installation,
) -> None:
    row = movable.seat("one", stopped=True)
    in_container(movable, row)
    movable.machines.lost.add("alpha")
    remove_machine(movable.context, "alpha", force=True)
    movable.machines.lost.clear()
    assert move(movable.context, id=row.id, name=None, to="beta").after["status"] == "stopped"
    now = movable.store.get(id=row.id)
    assert (now.node, now.status, now.error) == ("beta", Status.STOPPED, None)


def test_a_seat_of_a_machine_that_was_removed_is_torn_down_like_one_without_container(
    installed: Installation, tmp_path: Path
) -> None:
    collected, lost = installed.seat("collected"), installed.seat("lost")
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "one.tar.zst").write_bytes(b"work")
    moment = "2026-02-14T10:00:00.000Z"
    entry = Entry(collected.id, "collected", "running", collected_at=moment, file="one.tar.zst", bytes=4)
    write_manifest(folder, "test", moment, [entry])
    installed.machines.lost.add("alpha")
    with pytest.raises(AtelierError, match="alpha does not answer"):
        remove_collected(installed.context, [collected.id], folder)
    remove_machine(installed.context, "alpha", force=True)
    again = collect(installed.context, [collected.id, lost.id], folder)
    assert [(seat.file, seat.error) for seat in again.seats] == [("one.tar.zst", None), (None, None)]
    with pytest.raises(AtelierError) as error:
        remove_collected(installed.context, [collected.id, lost.id], folder)
    assert error.value.details["missing"] == ["lost"]
    assert [row.id for row in installed.store.all()] == [lost.id], "it can still begin from a checkpoint"


def test_a_deleted_seat_of_a_removed_machine_that_joined_again_leaves_no_container(installed: Installation) -> None:
    """Reconcile would make it a workspace again."""
    row, alpha = installed.seat("one"), installed.machines.all["alpha"]
    spec: Any = SimpleNamespace(labels={"atelier.workspace": row.id})
    alpha.containers[installed.site.container_name(row.id)] = spec
    installed.machines.lost.add("alpha")
    remove_machine(installed.context, "alpha", force=True)
    installed.machines.lost.clear()
    ensure(installed.context, WorkspaceSpec(state=WorkspaceState.ABSENT, id=row.id))
    assert not installed.store.all() and not alpha.containers


def test_a_seat_of_a_machine_that_was_removed_can_be_deleted(installed: Installation) -> None:
    row = installed.seat("one")
    take_checkpoint(installed.context, id=row.id, name=None)
    installed.machines.lost.add("alpha")
    absent = WorkspaceSpec(state=WorkspaceState.ABSENT, id=row.id)
    with pytest.raises(AtelierError) as error:
        ensure(installed.context, absent)
    assert error.value.code is Code.NODE_UNAVAILABLE, "it may return"
    remove_machine(installed.context, "alpha", force=True)
    assert ensure(installed.context, absent).changed
    assert installed.store.all() == []
    assert installed.registry == {}


@pytest.mark.parametrize("claimed", [True, False])
def test_a_deleted_seat_that_returns_with_its_machine_is_not_free(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, claimed: bool
) -> None:
    """It has its former participant's work. A database that was lost has no claims."""
    row = installed.seat("one 1", group="one")
    claims = Claims(installed.store, "one")
    if claimed:
        claims.claim([Participant("Ann", "ann@example.com")])
    installed.store.delete(row.id)
    monkeypatch.setattr(reconcile, "row_from_container", lambda *_: row)
    alpha = in_container(installed, row)
    (name,) = alpha
    reconcile._orphan(installed.context.on("alpha"), row.id, container(name=name)).repair()
    assert (installed.store.get(id=row.id).unreleased is not None) is claimed
    assert claims.occupancy().available == (0 if claimed else 1)


def test_a_move_that_waited_for_another_to_the_same_machine_changes_nothing(
    movable: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = movable.seat("one")
    in_container(movable, row)
    found = moves.target_of

    def find_after_the_other(*given: Any) -> str:
        monkeypatch.setattr(moves, "target_of", found)
        assert move(movable.context, id=row.id, name=None, to="beta").changed
        return "beta"

    monkeypatch.setattr(moves, "target_of", find_after_the_other)
    late = move(movable.context, id=row.id, name=None, to="beta")
    assert (late.changed, late.after["node"]) == (False, "beta")
    assert list(movable.machines.all["beta"].containers) == [movable.site.container_name(row.id)]


def test_a_drain_leaves_alone_what_others_move_or_remove_meanwhile(
    movable: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three, four = (movable.seat(name) for name in ("one", "two", "three", "four"))
    for row in (one, two):
        in_container(movable, row)
    found = moves.target_of

    def find_after_the_others(*_: Any) -> str:
        monkeypatch.setattr(moves, "target_of", remove_before_the_lock)
        for row in (one, two):
            assert move(movable.context, id=row.id, name=None, to="beta").changed
        movable.store.delete(three.id)
        return CONTROLLER

    def remove_before_the_lock(context: Context, row: Workspace, to: str | None) -> str:
        if row.id == four.id:
            movable.store.delete(four.id)
            return CONTROLLER
        return found(context, row, to)

    monkeypatch.setattr(moves, "target_of", find_after_the_others)
    monkeypatch.setattr(moves, "set_availability", lambda *_, **__: True)
    _, seats = moves.drain(movable.context, "alpha")
    assert [(seat.name, seat.node, seat.error) for seat in seats] == [("one", "beta", None)]
    assert {row.node for row in movable.store.all()} == {"beta"}


def test_a_seat_whose_reset_was_killed_is_moved_with_its_container_of_before(movable: Installation) -> None:
    row, alpha = movable.seat("one"), movable.machines.all["alpha"]
    name = movable.site.container_name(row.id)
    for leftover in (f"{name}-kept-20270301t120000000000z", f"{name}-new"):
        alpha.containers[leftover] = seat_spec(movable.context.on("alpha"), row, "sha256:template", leftover)
    assert move(movable.context, id=row.id, name=None, to="beta").after["node"] == "beta"
    assert list(movable.machines.all["beta"].containers) == [name]
    assert list(alpha.containers) == [f"{name}-new"]
