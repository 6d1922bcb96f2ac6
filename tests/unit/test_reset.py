"""A reset that fails leaves the seat and its desired state as before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import Status, Workspace
from atelier.containers import container as seats
from atelier.containers.container import SNAPSHOT_LABEL
from atelier.containers.context import Context, NodeContext
from atelier.containers.template_images import TemplateImages
from atelier.database.intent import stopped_on_purpose, wanted_up
from atelier.engine.models import Container, File, Image, SeatSpec
from atelier.reconcile import _interrupted_resets, _past
from atelier.workshop import release as releases
from atelier.workspaces import reset as resets
from atelier.workspaces import service, side_by_side
from atelier.workspaces.kept_containers import (
    interrupted_resets,
    previous_container,
    recovered,
    restore_previous_container,
)
from atelier.workspaces.reset import reset
from support import container, context, open_store, order, quotas, site


class Engine:
    """Containers by name, with their status. One that a reset made fails to do what ``broken`` names."""

    def __init__(self, name: str, status: str, broken: str) -> None:
        self.containers = {name: status}
        self.labels: dict[str, str] = {}
        self._broken = broken

    def inspect(self, name: str) -> Container | None:
        status = self.containers.get(name)
        return container(status, name=name) if status else None

    def image(self, tag: str) -> Image | None:
        return Image("sha256:1", [tag], (), {})

    def image_tags(self, label: str) -> Sequence[str]:
        return ()

    def container_names(self, label: str) -> dict[str, str]:
        return {name: self.labels.get(name, "") for name in self.containers}

    def create(self, spec: SeatSpec) -> None:
        self.containers[spec.name] = "created"

    def put(self, name: str, folder: str, files: Sequence[File]) -> None:
        """Nothing."""

    def start(self, name: str) -> None:
        if self.containers[name] == "created" and self._broken == "start":
            raise AtelierError(Code.CONTAINER_CREATE_FAILED, as_message("It does not start."))
        self.containers[name] = "running"

    def stop(self, name: str) -> None:
        if self._broken == "stop":
            raise AtelierError(Code.ENGINE_ERROR, as_message("It does not stop."))
        self.containers[name] = "exited"

    def rename(self, old: str, new: str) -> None:
        if self._broken == "rename":
            raise AtelierError(Code.ENGINE_ERROR, as_message("It is not renamed."))
        self.containers[new] = self.containers.pop(old)

    def remove(self, name: str) -> None:
        self.containers.pop(name, None)


@pytest.mark.parametrize("restored", [True, False])
def test_a_container_that_never_ran_is_kept_unless_a_reset_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: bool
) -> None:
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.STOPPED)
        name = made.container_name(row.id)
        engine = Engine(name, "created", "")
        if not restored:
            engine.containers[f"{name}-kept-20270301t120000000000z"] = "exited"
        outcome = reset(context(made, store, engine), id=row.id, name=None, keep_hours=24)
        assert engine.containers[name] == "running"
        (kept,) = engine.containers.keys() - {name}
        assert (outcome.kept == kept) is restored


@pytest.mark.parametrize("broken", ["start", "stop"])
@pytest.mark.parametrize("before", ["exited", "running"])
def test_a_seat_that_was_stopped_stays_so_when_its_reset_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, broken: str
) -> None:
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        if before == "exited":
            stopped_on_purpose(store, row.id)
        name = made.container_name(row.id)
        engine = Engine(name, before, broken)
        here = context(made, store, engine)
        with pytest.raises(AtelierError, match=f"does not {broken}"):
            reset(here, id=row.id, name=None, keep_hours=24)
        assert engine.containers[name] == before
        assert (row.id in wanted_up(store)) is (before == "running")
        assert store.get(id=row.id).status is (Status.RUNNING if before == "running" else Status.STOPPED)


def test_an_unreleased_seat_whose_reset_fails_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its former participant's files."""
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING, unreleased="Docker is away.")
        name = made.container_name(row.id)
        engine = Engine(name, "running", "start")
        with pytest.raises(AtelierError, match="does not start"):
            reset(context(made, store, engine), id=row.id, name=None, keep_hours=24)
        assert engine.containers == {name: "running"}
        assert store.get(id=row.id).unreleased


def test_an_unreleased_seat_whose_reset_is_killed_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its former participant's container until that is renamed."""

    def killed(_: str) -> None:
        raise KeyboardInterrupt

    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING, unreleased="Docker is away.")
        engine = Engine(made.container_name(row.id), "running", "")
        monkeypatch.setattr(engine, "stop", killed)
        with pytest.raises(KeyboardInterrupt):
            reset(context(made, store, engine), id=row.id, name=None, keep_hours=24)
        assert store.get(id=row.id).unreleased


@pytest.mark.parametrize("unreleased", [True, False])
def test_a_start_ends_what_runs_in_an_unreleased_seat_that_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreleased: bool
) -> None:
    """Its former participant's sessions would go on, with the password of before."""
    done: list[str] = []
    monkeypatch.setattr(service, "await_ide", lambda *_: None)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        if unreleased:
            store.update(row.id, unreleased="Docker is away.")
        engine = Engine(made.container_name(row.id), "paused", "")
        for name in ("stop", "unpause"):
            monkeypatch.setattr(engine, name, lambda _, name=name: done.append(name), raising=False)
        service.bring_up(context(made, store, engine).on(), store.get(id=row.id))
    assert done == (["stop"] if unreleased else ["unpause"])


def test_an_unreleased_seat_stays_so_when_it_gets_its_previous_container_back(tmp_path: Path) -> None:
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, unreleased="The reset was killed.")
        name = made.container_name(row.id)
        _, engine = killed_between_its_renames(name, row.id)
        restore_previous_container(context(made, store, engine).on(), store.get(id=row.id))
        assert name in engine.containers
        assert store.get(id=row.id).unreleased


@pytest.mark.parametrize(
    ("taken_before", "unreleased", "origin"),
    [(None, False, "original_image"), ("2027", False, "template"), (None, True, "template")],
)
def test_a_release_does_not_reset_to_an_image_of_the_seat_s_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_before: str | None, unreleased: bool, origin: str
) -> None:
    """A move or a reset to a checkpoint made its container from one, and its base is gone."""
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    monkeypatch.setattr(TemplateImages, "require", lambda *_, **__: None)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat", cloned_from="0" * 12)])
        store.update(row.id, status=Status.RUNNING)
        if unreleased:
            store.update(row.id, unreleased="Docker is away.")
        engine = Engine(made.container_name(row.id), "running", "")
        monkeypatch.setattr(engine, "image", lambda tag: Image(tag, [], (), {SNAPSHOT_LABEL: row.id}))
        here = context(made, store, engine)
        assert reset(here, id=row.id, name=None, keep_hours=24, taken_before=taken_before).origin == origin


def test_a_seat_whose_killed_reset_is_ended_by_a_start_trusts_its_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API starts what should run, so nobody runs the reset again."""
    done: list[str] = []
    monkeypatch.setattr(service, "await_ide", lambda *_: None)
    monkeypatch.setattr(seats, "put_proxy_ca", lambda *_: not done.append("put"))
    monkeypatch.setattr(seats, "trust_proxy_ca", lambda *_: done.append("trusted"))
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        engine = Engine(made.container_name(row.id), "created", "")
        service.bring_up(context(made, store, engine).on(), store.get(id=row.id))
        assert (done, [*engine.containers.values()]) == (["put", "trusted"], ["running"])


def test_a_seat_whose_reset_was_killed_at_its_start_trusts_its_proxy_after_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(resets, "await_ide", lambda *_: None)
    monkeypatch.setattr(resets, "put_proxy_ca", lambda *_: not done.append("put"))
    monkeypatch.setattr(resets, "trust_proxy_ca", lambda *_: done.append("trusted"))
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        name = made.container_name(row.id)
        engine = Engine(name, "running", "")
        left = container("running", name=name, labels={"atelier.reset": "one"})
        monkeypatch.setattr(engine, "inspect", lambda _: left)
        reset(context(made, store, engine), id=row.id, name=None, keep_hours=24, run_id="one")
        assert (done, [*engine.containers]) == (["put", "trusted"], [name])


def test_a_reset_that_fails_after_a_killed_one_leaves_the_seat_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the new container the one with its work would count as replaced, and be removed some day."""
    made = site(tmp_path)
    with open_store(tmp_path, quotas(concurrent=1)) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.STOPPED)
        (other,) = store.reserve([order("Other")])
        store.update(other.id, status=Status.RUNNING)
        name = made.container_name(row.id)
        _, engine = killed_between_its_renames(name, row.id)
        with pytest.raises(AtelierError) as error:
            reset(context(made, store, engine), id=row.id, name=None, keep_hours=24)
        assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
        assert [*engine.containers] == [name]


def test_a_release_ends_the_sessions_of_a_seat_whose_reset_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its container back later, and must not keep its former participant's git token then."""
    monkeypatch.setattr(Context, "sync_ports", lambda _: None)
    renewed: list[str] = []
    monkeypatch.setattr(releases, "renew_credential", lambda _, row: renewed.append(row.name))
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        name = made.container_name(row.id)
        _, engine = killed_between_its_renames(name, row.id)
        here = context(made, store, engine)
        releases.release(here, id=row.id, name=None, password_hash="$new", files="keep", keep_hours=24)
        assert (renewed, name in engine.containers) == (["Seat"], True)


@pytest.mark.parametrize("by", ["move", "revive"])
def test_a_start_does_not_hide_that_files_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """A seat without the repository that it is made from must not be claimed."""

    def cannot(here: NodeContext, row: Workspace, *_: object) -> None:
        store.update(row.id, status=Status.ERROR, error=row.error)
        raise AtelierError(Code.GIT_CLONE_FAILED, as_message("It is closed."))

    for module in (seats, service):
        monkeypatch.setattr(module, "await_ide", lambda *_: None)
    monkeypatch.setattr(side_by_side, "fetch", cannot)
    monkeypatch.setattr(Context, "cpus", lambda _: 1)
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat", git_url="https://example.org/a.git")])
        store.update(row.id, status=Status.ERROR, error="It is closed.")
        here = context(made, store, Engine(made.container_name(row.id), "exited", ""))
        if by == "move":
            seats.start_seat(here.on(), store.get(id=row.id))
        else:
            (revived,) = side_by_side.revive(here, [row.id])
            assert "It is closed." in str(revived.error)
        assert (store.get(id=row.id).status, store.get(id=row.id).error) == (Status.ERROR, "It is closed.")


def killed_between_its_renames(name: str, id: str, broken: str = "") -> tuple[str, Engine]:
    """The kept container's name, and a Docker after such a reset of the seat with that container name and id."""
    kept = f"{name}-kept-20260101t000000000000z"
    engine = Engine(kept, "exited", broken)
    engine.containers[f"{name}-new"] = "created"
    engine.labels |= {kept: id, f"{name}-new": id}
    return kept, engine


@pytest.mark.parametrize("moved_back", [True, False])
def test_a_kept_container_on_a_former_machine_replaces_nothing(tmp_path: Path, moved_back: bool) -> None:
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        name = made.container_name(row.id)
        kept, engine = killed_between_its_renames(name, row.id)
        here = context(made, store, engine).on()
        (drift,) = _interrupted_resets(here, {row.id: store.get(id=row.id)}, lambda _: False)
        store.update(row.id, node="alpha")
        moved = store.get(id=row.id)
        assert not [*_interrupted_resets(here, {row.id: moved}, lambda _: False)]
        if moved_back:
            store.update(row.id, node=here.node)
        drift.repair()
        assert engine.containers == {name if moved_back else kept: "exited", f"{name}-new": "created"}
        assert store.get(id=row.id).status is (Status.STOPPED if moved_back else Status.RUNNING)


@pytest.mark.parametrize("broken", ["", "rename"])
def test_a_repair_that_could_not_give_a_seat_its_container_back_leaves_it_and_its_mark(
    tmp_path: Path, broken: str
) -> None:
    """Without the new container the old one would count as replaced, and without the old one the files were lost."""
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=Status.RUNNING)
        name = made.container_name(row.id)
        kept, engine = killed_between_its_renames(name, row.id, broken)
        engine.labels[name] = row.id
        here, rows = context(made, store, engine).on(), {row.id: store.get(id=row.id)}
        repairs = [
            *_interrupted_resets(here, rows, lambda _: False),
            *_past(here, rows, {row.id}, 0, lambda _: False),
        ]
        assert len(repairs) == 3
        for drift in repairs:
            with suppress(AtelierError):
                drift.repair()
        assert list(engine.containers) == ([kept, f"{name}-new"] if broken else [name])


@pytest.mark.parametrize("status", [Status.CREATING, Status.RUNNING])
def test_a_seat_that_is_being_made_does_not_get_its_previous_container(tmp_path: Path, status: Status) -> None:
    """It may have a former participant's files."""
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=status)
        name = made.container_name(row.id)
        kept, engine = killed_between_its_renames(name, row.id)
        row, found = recovered(context(made, store, engine).on(), store.get(id=row.id))
        restored = status is Status.RUNNING
        assert (row.status, found is not None) == (Status.STOPPED if restored else Status.CREATING, restored)
        assert engine.containers == {name if restored else kept: "exited", f"{name}-new": "created"}


def test_a_container_that_was_removed_by_hand_is_not_replaced_by_the_kept_one(tmp_path: Path) -> None:
    made = site(tmp_path)
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        kept = f"{made.container_name(row.id)}-kept-20260101t000000000000z"
        engine = Engine(kept, "exited", "")
        engine.labels[kept] = row.id
        here = context(made, store, engine).on()

        assert interrupted_resets(here) == {}
        assert previous_container(here, row.id) is None
        restore_previous_container(here, row)
        assert list(engine.containers) == [kept]
