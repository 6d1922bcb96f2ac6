"""Browsers' sessions: kept as hashes in a file of root's, ended by time and by signing out."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from api import sessions
from api.sessions import Role, Sessions


def test_a_session_is_found_by_its_id_only_until_it_is_closed(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    id, other = kept.open(Role.OPERATOR), kept.open(Role.WORKSHOP)
    found = kept.find(id)
    assert found is not None
    assert found.role is Role.OPERATOR
    for wrong in ("", id[:-1], id + "x", "\udcff"):
        assert kept.find(wrong) is None
    kept.close(id)
    kept.close("never opened")
    assert kept.find(id) is None
    assert kept.find(other) is not None


def test_a_restart_signs_nobody_out_and_the_file_holds_no_id(tmp_path: Path) -> None:
    id = Sessions(tmp_path).open(Role.OPERATOR)
    file = tmp_path / "api" / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert id not in file.read_text()
    assert Sessions(tmp_path).find(id) is not None


def test_a_session_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LIFETIME_SECONDS", -1)
    kept = Sessions(tmp_path)
    id = kept.open(Role.OPERATOR)
    assert kept.find(id) is None


def test_a_thousand_are_kept_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_KEPT", 3)
    kept = Sessions(tmp_path)
    ids = [kept.open(Role.OPERATOR) for _ in range(4)]
    assert [kept.find(id) is not None for id in ids] == [False, True, True, True]


@pytest.mark.parametrize("spoilt", ["", "nonsense", "[]", '{"x": 1}', '{"x": {"role": "king", "ends_at": 1}}'])
def test_a_spoilt_file_keeps_nobody_from_signing_in(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "sessions.json").write_text(spoilt)
    kept = Sessions(tmp_path)
    assert kept.find(kept.open(Role.OPERATOR)) is not None
