"""The API's view of a workspace after events of Docker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError
from atelier.common.locks import Locks
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER, Node, Site, Status, StopReason
from atelier.database.intent import stopped_on_purpose, wanted_up
from atelier.database.placement import Machine
from atelier.engine.models import Container, Event
from support import container, open_store, order, row, site

from api.monitoring.docker_events import Watcher, status_seen


@pytest.mark.parametrize(
    ("status", "docker", "gone", "shown"),
    [
        (Status.RUNNING, "running", False, Status.RUNNING),
        # The row says already what the events, which come late, have yet to tell.
        (Status.RUNNING, "created", False, Status.RUNNING),
        (Status.RUNNING, None, False, Status.RUNNING),
        (Status.RUNNING, None, True, Status.ERROR),
        (Status.RUNNING, "exited", False, Status.STOPPED),
        (Status.CREATING, "created", False, Status.CREATING),
        (Status.STOPPED, "created", False, Status.STOPPED),
        (Status.STOPPED, None, True, Status.ERROR),
    ],
)
def test_what_is_shown(status: Status, docker: str | None, gone: bool, shown: Status) -> None:
    workspace = row(status=status)
    seen = container(docker) if docker else None
    assert status_seen(workspace, seen, {workspace.id} if gone else set())[0] is shown


def test_a_container_that_docker_started_again_runs() -> None:
    """Also when it was seen in between, as after the death of its first process or its shim."""
    seen_between = row(status=Status.RUNNING)
    status, error = status_seen(seen_between, container("restarting"), set())
    assert status is Status.ERROR
    assert status_seen(row(status=status, error=error), container("running"), set()) == (Status.RUNNING, None)
    # Any other error is for a person to look at.
    broken = row(status=Status.ERROR, error="Its IDE did not answer.")
    assert status_seen(broken, container("running"), set())[0] is Status.ERROR


def test_a_workspace_whose_template_has_a_newer_image_is_told(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        made, watcher = row(), Watcher(site(tmp_path), store, Locks(tmp_path))
        version = watcher.version
        watcher.look_at(CONTROLLER, made.id, "c" * 64, container(labels={"atelier.inputs": "1"}), watcher.row(made.id))
        assert not watcher.is_outdated(made)  # nothing is known of the images yet
        for current, outdated in (("1", False), ("2", True)):
            watcher.note_images({"empty": current})
            assert watcher.is_outdated(made) is outdated
        # Open pages are notified of each change, and of no other.
        watcher.note_images({"empty": "2"})
        assert watcher.version == version + 3
        # Containers of the first versions have no such label; templates that are gone have no newer image.
        watcher.look_at(CONTROLLER, made.id, "c" * 64, container(), watcher.row(made.id))
        assert watcher.is_outdated(made)
        assert not watcher.is_outdated(made._replace(template="gone"))


class Docker:
    """Tells of these events of one container, which is gone."""

    def __init__(self, named: dict[str, str], actions: Iterable[str]) -> None:
        self._events = (Event(action, "c", named["name"], named, 1) for action in actions)
        self.asked: list[str] = []

    def events(self, label: str) -> Iterator[Event]:
        return self._events

    def past_events(self, label: str, since: int) -> list[Event]:
        return []

    def container_names(self, label: str) -> dict[str, str]:
        return {}

    def inspect(self, id: str) -> Container | None:
        self.asked.append(id)
        return None


def follow(watcher: Watcher, engine: Any) -> None:
    watcher._nodes[CONTROLLER].follow(engine)


def test_programs_that_the_kernel_ends_cost_no_look(tmp_path: Path) -> None:
    """A seat may have the kernel end hundreds a second: each look would ask Docker, and renew all open pages."""
    made, id = site(tmp_path), "0123456789ab"
    api = Docker(
        {"atelier.workspace": id, "name": made.container_name(id)}, [*["oom"] * 500, "exec_create: true", "die"]
    )
    with open_store(tmp_path) as store:
        watcher = Watcher(made, store, Locks(tmp_path))
        with pytest.raises(AtelierError, match="ended"):
            follow(watcher, api)
    assert api.asked == ["c"]
    assert watcher.version == 2


@pytest.mark.parametrize("by_a_module", [False, True])
def test_a_stop_that_is_a_step_of_a_module_s_work_is_no_person_s(tmp_path: Path, by_a_module: bool) -> None:
    """A reset that is killed while Docker stops the seat would else leave it stopped for good."""
    made, id = site(tmp_path), "0123456789ab"

    def actions() -> Iterator[str]:
        with Locks(tmp_path).workspace(id, 1) if by_a_module else nullcontext():
            yield "kill"
        # The module is dead; Docker goes on with what it asked for.
        yield from ("kill", "die", "stop")

    with open_store(tmp_path) as store:
        watcher = Watcher(made, store, Locks(tmp_path))
        api = Docker({"atelier.workspace": id, "name": made.container_name(id)}, actions())
        with pytest.raises(AtelierError, match="ended"):
            follow(watcher, api)
        assert list(watcher.asked_to_end) == ([] if by_a_module else [id])
        # The next one is a person's again.
        api = Docker({"atelier.workspace": id, "name": made.container_name(id)}, ["start", "kill", "die"])
        with pytest.raises(AtelierError, match="ended"):
            follow(watcher, api)
        assert list(watcher.asked_to_end) == [id]


@pytest.mark.parametrize("in_look_at_all", [False, True])
def test_a_stop_that_ends_after_docker_s_answer_is_not_undone(tmp_path: Path, in_look_at_all: bool) -> None:
    """The answer says that the seat runs; a seat that was started by hand would be wanted from then on."""
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("seat")])
        store.update(row.id, status=Status.RUNNING)
        name = made.container_name(row.id)

        class Stopping(Docker):
            def container_names(self, label: str) -> dict[str, str]:
                return {name: row.id} if in_look_at_all else {}

            def inspect(self, id: str) -> Container | None:
                stopped_on_purpose(store, row.id, StopReason.IDLE)
                return container("running")

        api = Stopping({"atelier.workspace": row.id, "name": name}, [] if in_look_at_all else ["kill"])
        with pytest.raises(AtelierError, match="ended"):
            follow(Watcher(made, store, Locks(tmp_path)), api)
        assert wanted_up(store) == set()
        present = store.get(id=row.id)
        assert (present.status, present.stop_reason) == (Status.STOPPED, StopReason.IDLE)


def test_a_release_that_fails_after_docker_s_answer_is_not_undone(tmp_path: Path) -> None:
    """The seat had crashed before, and runs again by that answer; but it may have the former participant's work."""
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("seat")])
        store.update(row.id, status=Status.ERROR, error=Message("container_ends"))

        class Running(Docker):
            def inspect(self, id: str) -> Container | None:
                store.update(row.id, unreleased="It does not stop.")
                return container("running")

        api = Running({"atelier.workspace": row.id, "name": made.container_name(row.id)}, ["start"])
        watcher = Watcher(made, store, Locks(tmp_path))
        with pytest.raises(AtelierError, match="ended"):
            follow(watcher, api)
        assert store.get(id=row.id).unreleased
        store.update(row.id, error=Message("container_ends"))
        watcher.look_at(CONTROLLER, row.id, "c", container("running"), watcher.row(row.id))
        assert store.get(id=row.id).status is Status.RUNNING


def two_machines(folder: Path) -> Site:
    return replace(site(folder), nodes=(Node("alpha", "unix:///nowhere/alpha"),))


def test_seats_of_a_machine_that_does_not_answer_are_in_error_and_others_are_not(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        machines = [Machine("controller", 3 << 30), Machine("alpha", 3 << 30)]
        for made in store.reserve([order("one"), order("two")], machines):
            store.update(made.id, status=Status.RUNNING)
        watcher = Watcher(two_machines(tmp_path), store, Locks(tmp_path))
        watcher._nodes["controller"].available = True
        rows = {made.node: made for made in store.all()}
        of_controller, of_alpha = rows["controller"], rows["alpha"]
        assert watcher.available
        assert watcher.status(of_controller)[0] is Status.RUNNING
        status, error = watcher.status(of_alpha)
        assert (status, str(error)) == (Status.ERROR, "Its machine alpha does not answer.")
        # The database keeps what it was.
        assert store.get(id=of_alpha.id).status is Status.RUNNING
        watcher._nodes["alpha"].available = True
        assert watcher.status(of_alpha)[0] is Status.RUNNING
        # One that hangs only stops telling of anything; Docker Swarm notices.
        watcher.note_down({"alpha"})
        assert watcher.status(of_alpha)[0] is Status.ERROR


def test_what_a_move_leaves_on_the_former_machine_says_nothing_of_the_seat(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("moved")], [Machine("alpha", 3 << 30)])
        store.update(row.id, status=Status.RUNNING)
        watcher = Watcher(two_machines(tmp_path), store, Locks(tmp_path))
        watcher.look_at_all("alpha", {row.id: container("running", id="new")}, store.all())
        watcher.look_at("controller", row.id, "old", container("exited", id="old"), watcher.row(row.id))
        watcher.look_at("controller", row.id, "old", None, watcher.row(row.id))
        watcher.look_at_all("controller", {row.id: container("exited", id="old")}, store.all())
        assert watcher.seen[row.id].id == "new"
        assert not watcher.is_gone(row.id)
        assert store.get(id=row.id).status is Status.RUNNING
        assert list(watcher.seen_at("alpha")) == [row.id]
        assert watcher.seen_at("controller") == {}
        assert watcher.seen_at("unknown") == {}


def test_each_machine_has_the_containers_of_its_workspaces(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        machines = [Machine("controller", 3 << 30), Machine("alpha", 3 << 30)]
        there, here = sorted(store.reserve([order("one"), order("two")], machines), key=lambda row: row.node)
        watcher = Watcher(two_machines(tmp_path), store, Locks(tmp_path))
        watcher.look_at_all(CONTROLLER, {here.id: container("running", id="a")}, store.all())
        watcher.look_at("alpha", there.id, "b", container("running", id="b"), watcher.row(there.id))
        assert list(watcher.seen_at(CONTROLLER)) == [here.id]
        assert list(watcher.seen_at("alpha")) == [there.id]
        # It moves: what alpha tells of it afterwards is the end of what it left.
        store.update(there.id, node=CONTROLLER)
        watcher.look_at(CONTROLLER, there.id, "c", container("running", id="c"), watcher.row(there.id))
        watcher.look_at("alpha", there.id, "b", None, watcher.row(there.id))
        assert set(watcher.seen_at(CONTROLLER)) == {here.id, there.id} == set(watcher.seen)
        assert watcher.seen_at("alpha") == {}
        watcher.look_at(CONTROLLER, here.id, "a", None, watcher.row(here.id))
        assert list(watcher.seen_at(CONTROLLER)) == [there.id]
