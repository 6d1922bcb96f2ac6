"""Containers kept by resets, while the machine's clock is set forward and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.engine.models import Container
from atelier.workspaces import checkpoints, kept_containers
from atelier.workspaces.checkpoints import stamp_after
from atelier.workspaces.kept_containers import kept_longer, note_kept, remove_expired
from support import container, context, open_store, site

A, B = "test-a-kept-20270301t120000000000z", "test-b-kept-20270301t130000000000z"


class Machine:
    def __init__(self) -> None:
        self.boot = "first"
        self.up = 1000.0

    def __call__(self) -> tuple[str, float]:
        return self.boot, self.up


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(kept_containers, "_boot", made)
    return made


def test_only_time_that_passed_counts(tmp_path: Path, machine: Machine) -> None:
    """Whatever the wall clock says: by the names both are years old."""
    assert kept_longer(tmp_path, {A, B, "test-a"}, 1) == set()
    note_kept(tmp_path, {A, "test-a"})
    machine.up += 1800
    note_kept(tmp_path, {A, B})
    machine.up += 1799
    assert kept_longer(tmp_path, {A, B}, 1) == set()
    machine.up += 1
    assert kept_longer(tmp_path, {A, B}, 1) == {A}
    # After a boot what had passed by the last note goes on.
    machine.boot, machine.up = "second", 5.0
    assert kept_longer(tmp_path, {A, B}, 0.5) == {A}
    note_kept(tmp_path, {A, B})
    machine.up += 1800
    assert kept_longer(tmp_path, {A, B}, 1) == {A}
    assert kept_longer(tmp_path, {A, B}, 0.5) == {A, B}
    note_kept(tmp_path, {B})
    assert kept_longer(tmp_path, {A}, 0.5) == set()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"boot": "first", "kept": {"a": 1}}', b"\xff"])
def test_a_damaged_file_keeps_everything_longer(tmp_path: Path, machine: Machine, text: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(text)
    machine.up = 1e9
    assert kept_longer(tmp_path, {A}, 1) == set()
    note_kept(tmp_path, {A})
    machine.up += 3600
    assert kept_longer(tmp_path, {A}, 1) == {A}


class Docker:
    """Refuses to remove the container that is ``stuck``."""

    def __init__(self, *names: str, stuck: str = "") -> None:
        self.names = {name: name[5] * 12 for name in names}
        self.stuck, self.silent = stuck, False

    def container_names(self, label: str) -> dict[str, str]:
        if self.silent:
            raise AtelierError(Code.ENGINE_ERROR, as_message("The machine hangs."))
        return dict(self.names)

    def inspect(self, name: str) -> Container:
        return container("exited", name=name)

    def remove(self, name: str) -> None:
        if name == self.stuck:
            raise AtelierError(Code.ENGINE_ERROR, as_message("device or resource busy"))
        del self.names[name]

    def image(self, id: str) -> None:
        return None


def test_what_cannot_be_removed_fails_no_reset_of_another_seat(tmp_path: Path, machine: Machine) -> None:
    note_kept(tmp_path, {A, B})
    machine.up += 3600
    docker = Docker(A, B, stuck=A)
    with open_store(tmp_path) as store:
        installed = context(site(tmp_path), store, docker)
        remove_expired(installed, 1)
        assert list(docker.names) == [A]
        docker.silent = True
        remove_expired(installed, 1)


def test_what_another_reset_may_go_back_to_stays_even_without_a_time_to_keep_it(
    tmp_path: Path, machine: Machine
) -> None:
    docker = Docker(A, "test-a", B, "test-b")
    with open_store(tmp_path) as store:
        installed = context(site(tmp_path), store, docker)
        with installed.locks.workspace("a" * 12, 1.0):
            remove_expired(installed, 0)
        assert list(docker.names) == [A, "test-a", "test-b"]
        remove_expired(installed, 0)
        assert list(docker.names) == ["test-a", "test-b"]


def test_what_an_interrupted_reset_kept_is_the_seat_s_own_for_any_time(tmp_path: Path, machine: Machine) -> None:
    """The seat gets it back when it is started, or by a repair."""
    note_kept(tmp_path, {A, B})
    machine.up += 3600
    docker = Docker(A, "test-a-new", B, "test-b")
    with open_store(tmp_path) as store:
        remove_expired(context(site(tmp_path), store, docker), 1)
    assert list(docker.names) == [A, "test-a-new", "test-b"]


def test_a_stamp_is_newer_than_all_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2027, 3, 1, 12, tzinfo=UTC)

    monkeypatch.setattr(checkpoints, "datetime", Clock)
    now = "20270301t120000000000z"
    assert stamp_after([]) == now
    assert stamp_after(["20260101t000000000000z", "20270301t115959999999z"]) == now
    assert stamp_after([now]) == "20270301t120000000001z"
    assert stamp_after(["20991231t235959999999z", now]) == "21000101t000000000000z"


def test_a_purge_removes_the_file() -> None:
    assert "'kept.json'" in Path("playbooks/tasks/purge.yml").read_text()
