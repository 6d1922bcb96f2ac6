"""The token that a seat pushes with ends with its participant's time, and with the user of an older Atelier. The next
participant's container gets nothing that was pushed with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import GitServer, Status
from atelier.containers import git_provisioning
from atelier.containers.context import Context, NodeContext
from atelier.containers.git_provisioning import renew_credential, repository_for
from atelier.database.claims import Claims, Participant
from atelier.database.workspace_store import WorkspaceStore
from atelier.engine.models import File
from atelier.git.urls import GitAccess
from support import open_store, order, site


class Forge:
    def __init__(self, fault: AtelierError | None = None) -> None:
        self.granted: list[tuple[str, str, str]] = []
        self.revoked: list[str] = []
        self._fault = fault

    def grant_seat(self, name: str, seat: str, branch: str) -> GitAccess:
        if self._fault:
            raise self._fault
        self.granted.append((name, seat, branch))
        return GitAccess(f"seat-{seat}", "another-token")

    def revoke_seat(self, *seats: str) -> bool:
        self.revoked += seats
        return True


class Renewal:
    def __init__(self, folder: Path, store: WorkspaceStore, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[File] = []
        git = GitServer("embedded", "workshop", folder / "socket", folder / "credentials", 3000, "http://localhost/git")
        self.context = SimpleNamespace(
            site=replace(site(folder), git=git, names_key=b"key"),
            store=store,
            engine=SimpleNamespace(put=self._put, execute=self._execute),
            progress=lambda *_: None,
        )
        self.orders: list[str] = []
        monkeypatch.setattr(git_provisioning, "open_forge", lambda *_: forge)

    def _put(self, name: str, folder: str, files: Sequence[File]) -> None:
        self.files += files

    def _execute(self, name: str, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        self.orders.append(command[-1])
        return 0, ""

    def renew(self, row: Any) -> None:
        renew_credential(cast(Context, self.context), row)


def test_the_seat_gets_another_token_and_the_old_user_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        forge = Forge()
        renewal = Renewal(tmp_path, store, forge, monkeypatch)
        renewal.renew(row._replace(repository="seat", branch="main"))
        public = renewal.context.site.public_name(row.id)
        assert (forge.granted, forge.revoked) == ([("seat", public, "main")], [row.id])
        (credential,) = [file for file in renewal.files if file.path.name == "git-credential"]
        assert b"another-token" in credential.data


def test_a_seat_without_a_branch_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        forge = Forge()
        renewal = Renewal(tmp_path, store, forge, monkeypatch)
        renewal.renew(row)
        assert (forge.granted, renewal.files) == ([], [])


def test_a_git_server_that_is_down_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat")])
        fault = AtelierError(Code.GIT_ERROR, as_message("The git server does not answer."))
        renewal = Renewal(tmp_path, store, Forge(fault), monkeypatch)
        renewal.renew(row._replace(repository="seat", branch="main"))
        noted = store.get(id=row.id)
        assert "former participant" in str(noted.git_problem)
        assert renewal.files == []
        Renewal(tmp_path, store, Forge(), monkeypatch).renew(noted._replace(repository="seat", branch="main"))
        assert store.get(id=row.id).git_problem is None


def test_what_a_former_participant_pushed_is_not_fetched_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Seat", group="day")])
        store.update(row.id, status=Status.RUNNING)
        row = row._replace(repository="seat", branch="main")
        renewal, claims = Renewal(tmp_path, store, Forge(), monkeypatch), Claims(store, "day")

        def restored() -> bool:
            with repository_for(cast(NodeContext, renewal.context), row, wanted=True, restore=True) as push:
                push()
            return renewal.orders.pop() == "restore"

        assert restored()
        claims.claim([Participant("Ann", "ann@example.org")])
        assert restored()
        claims.release(row.id)
        assert not restored()
        claims.claim([Participant("Bob", "bob@example.org")])
        assert not restored()
