"""The database of an older Atelier: an update keeps all its data."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from atelier.common.models import Status
from atelier.database.claims import Claims
from atelier.database.job_store import Jobs
from atelier.database.workspace_store import WorkspaceStore
from atelier.gateway.aliases import all_aliases
from atelier.workshop.idle_policy import extensions
from support import open_store, order

BASE, SEAT, HALF_MADE = "000000000001", "000000000002", "000000000003"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A state folder whose database Atelier 0.1.0 wrote."""
    with closing(sqlite3.connect(tmp_path / "registry.sqlite3")) as db:
        db.executescript(Path(__file__).with_name("database-0.1.0.sql").read_text())
    return tmp_path


@pytest.fixture
def store(old: Path) -> Iterator[WorkspaceStore]:
    """The old database, opened by this version."""
    with open_store(old) as opened:
        yield opened


def test_workspaces_are_as_they_were(store: WorkspaceStore) -> None:
    base, seat, half_made = store.all()
    assert (base.id, base.name, base.address, base.status) == (BASE, "Base", "10.9.0.16", Status.RUNNING)
    assert (base.notes, base.git_url, base.repository, base.branch) == (
        "exercise 1",
        "https://example.org/a.git",
        "base",
        "main",
    )
    assert (seat.id, seat.status, seat.group, seat.cloned_from) == (SEAT, Status.STOPPED, "spring", BASE)
    assert seat.branch == "clone/base-1"
    assert seat.password_protected and base.password_hash == seat.password_hash
    assert (half_made.id, half_made.status, half_made.batch) == (HALF_MADE, Status.CREATING, "b" * 12)


def test_what_belongs_to_them_is_still_theirs(store: WorkspaceStore) -> None:
    assert [(batch.id, batch.source_id, batch.count) for batch in store.open_batches()] == [("b" * 12, BASE, 2)]
    assert store.unrevoked() == {"000000000009": "base"}
    (claim,) = Claims(store, "spring").open()
    assert (claim.workspace_id, claim.name, claim.email) == (SEAT, "Ann", "ann@example.org")
    assert [(alias.subdomain, alias.port) for alias in all_aliases(store)[SEAT]] == [("demo", 3000)]
    assert extensions(store)[BASE].isoformat() == "2026-02-14T18:00:00+00:00"
    job = Jobs(store).find("job-1")
    assert (job.operation, job.state, list(job.project_ids)) == ("clone", "successful", [SEAT])


def test_the_next_workspace_has_the_next_address(store: WorkspaceStore) -> None:
    (made,) = store.reserve([order("new")])
    assert made.address == "10.9.0.19"


def test_the_old_file_is_put_aside_and_five_are_kept(old: Path) -> None:
    folder = old / "database-copies"
    folder.mkdir()
    for number in range(6):
        (folder / f"2026010{number}t000000z-schema-1.sqlite3").touch()
    for _ in range(2):  # once
        open_store(old).__exit__(None, None, None)
    copies = sorted(folder.iterdir())
    assert len(copies) == 5
    with closing(sqlite3.connect(copies[-1])) as db:
        assert copies[-1].name.endswith(f"-schema-{db.execute('PRAGMA user_version').fetchone()[0]}.sqlite3")
        assert db.execute("SELECT name FROM workspaces ORDER BY sequence").fetchall() == [
            ("Base",),
            ("Base 1",),
            ("Base 2",),
        ]
    assert copies[-1].stat().st_mode & 0o777 == 0o600


def test_a_new_file_is_not_put_aside(tmp_path: Path) -> None:
    open_store(tmp_path).__exit__(None, None, None)
    assert not (tmp_path / "database-copies").exists()


def test_a_file_that_was_brought_up_to_date_is_opened_again(old: Path) -> None:
    for _ in range(2):
        with open_store(old) as store:
            assert [row.name for row in store.all()] == ["Base", "Base 1", "Base 2"]
