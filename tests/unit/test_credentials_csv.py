"""The seat sheet: the one file that holds passwords."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.models import Status
from atelier.common.passwords import hash_password
from atelier.workspaces.credentials_csv import CredentialsCsv
from atelier.workspaces.plan import WorkspaceSpec, WorkspaceState
from atelier.workspaces.service import ensure
from support import container, context, open_store, order, refused, site

SEAT = {"name": "Base 1", "url": "http://x.localhost/", "status": "running", "password": "one two three"}


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    CredentialsCsv(path).write([SEAT])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "name,url,password,state\nBase 1,http://x.localhost/,one two three,running\n"


def test_one_that_everybody_could_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    CredentialsCsv(path).write([SEAT])
    path.chmod(0o644)
    CredentialsCsv(path).write([SEAT])
    assert path.stat().st_mode & 0o777 == 0o600


def test_passwords_are_kept_when_a_seat_comes_without(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    CredentialsCsv(path).write([SEAT])
    sheet = CredentialsCsv(path)
    assert sheet.password("Base 1") == "one two three"
    assert sheet.password("Base 2") is None
    sheet.write([SEAT | {"password": None, "status": "stopped"}])
    assert CredentialsCsv(path).password("Base 1") == "one two three"
    assert path.read_text().endswith("stopped\n")


def test_a_password_is_noted_before_its_seat_is_there(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    CredentialsCsv(path).write([SEAT])
    CredentialsCsv(path).note("Base 2", 'quoted "and", more')
    assert CredentialsCsv(path).password("Base 2") == 'quoted "and", more'
    assert CredentialsCsv(path).password("Base 1") == "one two three"


def test_what_is_unchanged_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv"
    CredentialsCsv(path).write([SEAT])
    before = path.stat().st_ino
    CredentialsCsv(path).write([SEAT])
    assert path.stat().st_ino == before


@pytest.mark.parametrize("content", ["name;url\n", "some notes of mine\n", "", "\x00\x01"])
def test_another_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(AtelierError) as error:
        CredentialsCsv(path)
    refused(error, Code.VALIDATION_ERROR, "seats_csv")
    assert path.read_text() == content


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(AtelierError) as error:
        CredentialsCsv(tmp_path / "picture")
    refused(error, Code.VALIDATION_ERROR, "seats_csv")


def test_a_folder_that_is_missing_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(AtelierError) as error:
        CredentialsCsv(tmp_path / "missing" / "seats.csv")
    assert "missing" in refused(error, Code.VALIDATION_ERROR, "seats_csv")


def test_a_folder_that_is_yet_to_be_made_is_fine_where_that_is_said(tmp_path: Path) -> None:
    assert CredentialsCsv(tmp_path / "state" / "seats.csv", folder_to_be_made=tmp_path / "state").password("x") is None


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtelierError) as error:
        CredentialsCsv(tmp_path)
    refused(error, Code.VALIDATION_ERROR, "seats_csv")


def test_a_sheet_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    sheet = CredentialsCsv(tmp_path / "folder" / "seats.csv")
    (tmp_path / "folder").rmdir()
    with pytest.raises(AtelierError) as error:
        sheet.write([SEAT])
    refused(error, Code.VALIDATION_ERROR, "seats_csv")


def test_who_holds_the_sheet_knows_what_others_wrote(tmp_path: Path) -> None:
    path, locks = tmp_path / "seats.csv", Locks(tmp_path)
    first, second = CredentialsCsv(path), CredentialsCsv(path)
    with first.held(locks, 0):
        first.note("Base 1", "one two three")
    with second.held(locks, 0):
        assert second.password("Base 1") == "one two three"


def test_what_a_killed_run_did_not_write_is_written_by_the_next(tmp_path: Path) -> None:
    path, password = tmp_path / "seats.csv", "a-password"
    engine = SimpleNamespace(inspect=lambda name: container(name=name))
    with open_store(tmp_path) as store:
        (row,) = store.reserve([order("Course", password_hash=hash_password(password))])
        store.update(row.id, status=Status.RUNNING)
        CredentialsCsv(path).note("Course", password)
        here = context(site(tmp_path), store, engine)
        wanted = WorkspaceSpec(state=WorkspaceState.PRESENT, name="Course", sheet=CredentialsCsv(path))
        assert not ensure(here, wanted).changed
        url = here.site.workspace_url(row.id)
    assert path.read_text().splitlines()[1:] == [f"Course,{url},{password},running"]
