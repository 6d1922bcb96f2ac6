"""A workspace whose container is gone is made again: whatever interrupts that, it stays, with what belongs to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message, as_message
from atelier.common.models import Status
from atelier.containers.container import make_seat
from atelier.database.intent import wanted_up
from atelier.reconcile import _Node, _row_drift
from atelier.workspaces import cloning
from atelier.workspaces.cloning import CloneOrder, clone
from atelier.workspaces.plan import WorkspaceSpec, WorkspaceState
from atelier.workspaces.service import ensure
from support import context, open_store, order, site


class Docker:
    """Nothing is there, and a run that creates a container is killed."""

    def inspect(self, name: str) -> None:
        """Nothing."""

    def container_names(self, label: str) -> dict[str, str]:
        return {}

    def remove_volume(self, volume: str) -> bool:
        return False

    def create(self, spec: object) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("before", [Status.RUNNING, Status.ERROR, Status.CREATING])
def test_a_killed_attempt_deletes_no_workspace_that_was_there(tmp_path: Path, before: Status, attempts: int) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=before)
        here = context(site(tmp_path), store, Docker()).on()
        for _ in range(attempts):
            with pytest.raises(KeyboardInterrupt):
                make_seat(here, store.get(id=row.id), "image", lambda: None)
        assert store.get(id=row.id).status is Status.CREATING
        (drift,) = _row_drift(_Node(here, {}, {}, ()), store.all(), (), lambda _: False)
        drift.repair()
        left = [(row.status, row.error) for row in store.all()]
        assert left == ([] if before is Status.CREATING else [(Status.ERROR, Message("container_gone"))])


@pytest.mark.parametrize("seen", [Status.RUNNING, Status.ERROR])
def test_a_stop_and_another_password_leave_it_gone(tmp_path: Path, seen: Status) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        store.update(row.id, status=seen, password_hash="$old")
        here = context(site(tmp_path), store, Docker())
        ensure(here, WorkspaceSpec(state=WorkspaceState.PRESENT, id=row.id, must_exist=True, password_hash="$new"))
        assert store.get(id=row.id).password_hash == "$new"
        after = ensure(here, WorkspaceSpec(state=WorkspaceState.STOPPED, id=row.id, must_exist=True)).after
        assert (after["status"], after["error"]) == ("error", Message("container_gone"))
        assert row.id not in wanted_up(store)


def test_a_clone_order_that_fails_deletes_no_seat_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AtelierError(Code.DISK_FULL, as_message("It is full."))

    with open_store(tmp_path) as store:
        (base,) = store.reserve([order("one")])
        store.update(base.id, status=Status.RUNNING)
        (seat,) = store.reserve([order("one 1", cloned_from=base.id, password_hash="$known")])
        store.update(seat.id, status=Status.RUNNING)
        here = context(site(tmp_path), store, Docker())
        with pytest.raises(KeyboardInterrupt):
            make_seat(here.on(), store.get(id=seat.id), "image", lambda: None)
        monkeypatch.setattr(type(here), "sync_routes", lambda _: None)
        monkeypatch.setattr(cloning, "leftover_snapshots", lambda _: [])
        monkeypatch.setattr(cloning, "snapshot", fail)
        with pytest.raises(AtelierError, match="It is full"):
            clone(here, CloneOrder(source="one", names=["one 1"]))
        left = store.get(id=seat.id)
        assert (left.status, left.password_hash) == (Status.ERROR, "$known")
