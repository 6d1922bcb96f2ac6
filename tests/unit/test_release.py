"""A release: from outside, checked by Docker's record, and nobody's seat when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier import seats
from atelier.engine import Container, File
from atelier.errors import AtelierError, Code
from atelier.locks import Locks
from atelier.model import Status
from atelier.platform import Platform
from atelier.registry import Registry
from atelier.release import KEEP_FILES, Wanted, release
from support import container, open_registry, order, site


class Engine:
    """A container that an engine restarts, or says so."""

    def __init__(self, status: str = "running", fault: AtelierError | None = None, *, restarts: bool = True) -> None:
        self.status, self.starts, self._fault, self._restarts = status, 1, fault, restarts
        self.config = b""

    def inspect(self, name: str) -> Container:
        return container(self.status, name=name, started_at=f"start {self.starts}")

    def put(self, name: str, folder: str, files: Sequence[File]) -> None:
        self.config = files[0].data

    def restart(self, name: str) -> None:
        if self._fault:
            raise self._fault
        self.starts += self._restarts


def released(tmp_path: Path, registry: Registry, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = site(tmp_path)
    platform = SimpleNamespace(
        site=made, registry=registry, engine=engine, locks=Locks(tmp_path), lock_wait=1.0, ready_timeout=1.0,
        progress=lambda *_: None, sync_ports=lambda: None,
    )  # fmt: skip
    monkeypatch.setattr(seats, "await_ide", lambda *_: None)
    row = registry.find(name="Seat")
    assert row is not None
    release(cast(Platform, platform), id=row.id, name=None, wanted=Wanted("$new", KEEP_FILES, 24, "5e7a0b"))


def seat(registry: Registry, status: Status = Status.RUNNING) -> str:
    (row,) = registry.reserve([order("Seat", password_hash="$old")])
    registry.update(row.id, status=status)
    return row.id


def test_the_container_is_restarted_with_another_password_and_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_registry(tmp_path) as registry:
        id, engine = seat(registry, Status.ERROR), Engine()
        released(tmp_path, registry, engine, monkeypatch)
        assert engine.starts == 2
        assert engine.config == b'auth: password\nhashed-password: "$new"\ncookie-suffix: 5e7a0b\ncert: false\n'
        row = registry.get(id=id)
        assert (row.password_hash, row.sessions, row.status, row.error) == ("$new", "5e7a0b", Status.RUNNING, None)


def test_what_is_stopped_stays_so_with_the_new_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_registry(tmp_path) as registry:
        seat(registry, Status.STOPPED)
        engine = Engine("exited")
        released(tmp_path, registry, engine, monkeypatch)
        assert (engine.starts, b"$new" in engine.config) == (1, True)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(restarts=False),  # whatever it was that answered, it is the old one
        Engine(fault=AtelierError(Code.SERVICE_UNAVAILABLE, "Docker is away.")),
        Engine(fault=AtelierError(Code.ENGINE_ERROR, "It would not end.")),
    ],
)
def test_a_seat_whose_release_fails_is_in_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    with open_registry(tmp_path) as registry:
        id = seat(registry)
        with pytest.raises(AtelierError):
            released(tmp_path, registry, engine, monkeypatch)
        row = registry.get(id=id)
        assert (row.status, row.password_hash) == (Status.ERROR, "$new")
