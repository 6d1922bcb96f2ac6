"""Browsers' sessions: kept as hashes in a file of root's, ended by time and by signing out."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from api.auth import sessions
from api.auth.sessions import Role, Sessions

SECRETS = {Role.OPERATOR: "token", Role.WORKSHOP: "password"}


def test_a_session_is_found_by_its_id_only_until_it_is_closed(tmp_path: Path) -> None:
    kept = Sessions(tmp_path, SECRETS)
    id, other = kept.open(Role.OPERATOR), kept.open(Role.WORKSHOP)
    assert kept.is_open(Role.OPERATOR, id)
    for wrong in ("", id[:-1], id + "x", "\udcff"):
        assert not kept.is_open(Role.OPERATOR, wrong)
    assert kept.close(Role.OPERATOR, ["planted", id, "never opened"]) == 1
    assert kept.close(Role.OPERATOR, ["never opened"]) == 0
    assert not kept.is_open(Role.OPERATOR, id)
    assert not kept.is_open(Role.OPERATOR, other)
    assert kept.is_open(Role.WORKSHOP, other)


def test_a_restart_signs_nobody_out_and_the_file_holds_no_id(tmp_path: Path) -> None:
    id = Sessions(tmp_path, SECRETS).open(Role.OPERATOR)
    file = tmp_path / "api" / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert id not in file.read_text()
    assert Sessions(tmp_path, SECRETS).is_open(Role.OPERATOR, id)


def test_another_secret_signs_out_whoever_had_the_old_one(tmp_path: Path) -> None:
    kept = Sessions(tmp_path, SECRETS)
    operator, workshop = kept.open(Role.OPERATOR), kept.open(Role.WORKSHOP)
    for changed in ("another", ""):
        again = Sessions(tmp_path, {**SECRETS, Role.WORKSHOP: changed})
        assert not again.is_open(Role.WORKSHOP, workshop)
        assert again.is_open(Role.OPERATOR, operator)


def test_a_session_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LIFETIME_SECONDS", -1)
    kept = Sessions(tmp_path, SECRETS)
    id = kept.open(Role.OPERATOR)
    assert not kept.is_open(Role.OPERATOR, id)


def test_a_thousand_are_kept_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_KEPT", 3)
    kept = Sessions(tmp_path, SECRETS)
    ids = [kept.open(Role.OPERATOR) for _ in range(4)]
    assert [kept.is_open(Role.OPERATOR, id) for id in ids] == [False, True, True, True]


@pytest.mark.parametrize(
    "spoilt", ["", "nonsense", "[]", '{"x": 1}', '{"x": {"ends_at": "late"}}', f'{{"x": {{"ends_at": 1{"0" * 400}}}}}']
)
def test_a_spoilt_file_keeps_nobody_from_signing_in(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "sessions.json").write_text(spoilt)
    kept = Sessions(tmp_path, SECRETS)
    assert kept.is_open(Role.OPERATOR, kept.open(Role.OPERATOR))


def test_half_written_files_of_a_killed_api_go(tmp_path: Path) -> None:
    id = Sessions(tmp_path, SECRETS).open(Role.OPERATOR)
    leftover = tmp_path / "api" / ".sessions.json.x1y2z3_4"
    leftover.write_text("{")
    assert Sessions(tmp_path, SECRETS).is_open(Role.OPERATOR, id)
    assert not leftover.exists()
