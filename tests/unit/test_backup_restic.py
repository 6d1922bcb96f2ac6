"""Backups: the settings, and restic as it is run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from atelier.backup.restic import Restic, Source, keep_options, variables_in
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import id_of
from backup_parts import private
from support import refused

CANARY = "canary-of-the-storage"
SETTINGS = {
    "repository": "atelier_backup_",
    "key_file": "atelier_backup_password_file",
    "environment_file": "atelier_backup_environment_file",
    "keep": "atelier_backup_keep",
}


# --- Settings --------------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused_with_their_field(tmp_path: Path, source: Source) -> None:
    state = tmp_path / "state"
    assert source.check(state) == {}
    readable = private(tmp_path / "readable", "x")
    readable.chmod(0o640)
    lines = private(tmp_path / "lines", "A=1\n\nno variable\n")
    cases = [
        (replace(source, repository=f"rest:https://somebody:{CANARY}@host/"), "repository"),
        (replace(source, repository="backup"), "repository"),
        (replace(source, repository=str(state / "backup")), "repository"),
        (replace(source, key_file=tmp_path / "missing"), "key_file"),
        (replace(source, key_file=private(tmp_path / "empty", "\n")), "key_file"),
        (replace(source, key_file=readable), "key_file"),
        (replace(source, environment_file=tmp_path / "missing"), "environment_file"),
        (replace(source, environment_file=readable), "environment_file"),
        (replace(source, environment_file=lines), "environment_file"),
    ]
    for wrong, field in cases:
        with pytest.raises(AtelierError) as error:
            wrong.check(state)
        said = refused(error, Code.VALIDATION_ERROR, field)
        assert CANARY not in said
        assert SETTINGS[field] in said, "an operator does not know the module's options"
    for elsewhere in ("sftp:backup@host:/srv", "s3:https://host/bucket"):
        assert replace(source, repository=elsewhere).check(state) == {}


def test_the_environment_file_is_read_as_a_shell_would(tmp_path: Path) -> None:
    text = "# the storage\nAWS_ACCESS_KEY_ID=abc\nexport AWS_SECRET_ACCESS_KEY='a b=c'\nEMPTY=\nQUOTED=\"x\"\n"
    found = {"AWS_ACCESS_KEY_ID": "abc", "AWS_SECRET_ACCESS_KEY": "a b=c", "EMPTY": "", "QUOTED": "x"}
    assert variables_in(private(tmp_path / "file", text)) == found


def test_rules_are_restics_own() -> None:
    assert keep_options({"daily": 7, "last": "3"}) == ["--keep-daily=7", "--keep-last=3"]
    for keep in ({"dayly": 7}, {"daily": 0}, {"daily": -1}, {"daily": "--prune"}):
        with pytest.raises(AtelierError) as error:
            keep_options(keep)
        assert SETTINGS["keep"] in refused(error, Code.VALIDATION_ERROR, "keep")


# --- restic ----------------------------------------------------------------------------------------------------------

FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$FOLDER/words"
env >"$FOLDER/environment"
if [ -n "$(cat "$FOLDER/says" 2>/dev/null)" ]; then
  cat "$FOLDER/says" >&2
  # Deaf, as restic is while it waits for ssh.
  [ -e "$FOLDER/hangs" ] && trap "" TERM && for i in $(seq 600); do sleep 0.1; done
  exit 1
fi
case $1 in
  backup) cat >"$FOLDER/stored"; touch "$FOLDER/ended"; echo '{"message_type":"status"}'
    echo '{"message_type":"summary","snapshot_id":"5e7a"}' ;;
  dump) printf 'first '; printf 'second' ;;
  forget) case $* in *--dry-run*) printf '[{"host":"h","keep":[{"id":"b"}],"remove":[{"id":"a"}]}]' ;; esac ;;
  prune) [ ! -e "$FOLDER/full" ] || case $* in *--max-repack-size=0*) ;; *)
    echo "write /srv/x: no space left on device" >&2; exit 1 ;; esac ;;
  snapshots) printf '[{"id":"b","time":"2027-03-02","hostname":"h"},{"id":"a","time":"2027-03-01","hostname":"h"}]' ;;
esac
"""


@pytest.fixture
def restic(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restic]:
    """restic's place is taken by a script that notes how it is called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "restic"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    variables = {"FOLDER": str(tmp_path), "AWS_SECRET_ACCESS_KEY": CANARY}
    return Restic(source, variables, "h", tmp_path / "cache")  # type: ignore[return-value]


def test_secrets_are_on_no_command_line(tmp_path: Path, restic: Restic) -> None:
    assert restic.store_stream("images.tar", iter([b"a", b"b"]), ["one", "two"]) == "5e7a"
    assert (tmp_path / "stored").read_bytes() == b"ab"
    assert b"".join(restic.read("5e7a", "images.tar")) == b"first second"
    assert [found["id"] for found in restic.snapshots("one")] == ["a", "b"]
    assert restic.forgettable("one", {"daily": 2}) == ["a"]
    assert restic.forgettable("one", {}) == []
    restic.remove(["a"])
    words = (tmp_path / "words").read_text()
    assert CANARY not in words and "secret" not in words
    assert CANARY in (tmp_path / "environment").read_text()
    assert "--keep-daily=2" in words and words.count("forget") == 2


def test_a_full_repository_is_pruned_without_room_to_repack(tmp_path: Path, restic: Restic) -> None:
    (tmp_path / "full").touch()
    restic.remove(["a"])
    assert [line.split()[0] for line in (tmp_path / "words").read_text().splitlines()] == ["forget", "prune", "prune"]


def test_a_stream_that_breaks_off_is_not_stored(tmp_path: Path, restic: Restic) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        restic.store_stream("images.tar", pieces(), [])
    assert not (tmp_path / "ended").exists()


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ("Fatal: wrong password or no key found", Code.VALIDATION_ERROR, "key_file"),
        (
            "Fatal: unable to open config file: stat /srv/config: no such file or directory\n"
            "Is there a repository at the following location?\n/srv",
            Code.VALIDATION_ERROR,
            "repository",
        ),
        (
            "Fatal: unable to open config file: Stat: Access Denied\n"
            "Is there a repository at the following location?\ns3:/x",
            Code.BACKUP_FAILED,
            "repository",
        ),
        ("write /srv/x: no space left on device", Code.DISK_FULL, "repository"),
        ("unable to create lock in backend: repository is already locked by PID 5", Code.BACKUP_FAILED, "repository"),
        ("Fatal: something else", Code.BACKUP_FAILED, "repository"),
    ],
)
def test_what_restic_says_becomes_an_error(tmp_path: Path, restic: Restic, said: str, code: Code, field: str) -> None:
    (tmp_path / "says").write_text(said)
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    said_of_it = refused(error, code, field)
    assert code is not Code.VALIDATION_ERROR or SETTINGS[field] in said_of_it


@pytest.mark.parametrize(
    ("said", "expected", "reason"),
    [
        (
            "Stat(<config/>) returned error, retrying after 3.4s: Stat: Wrong key",
            "backup.no_answer_but",
            "Stat: Wrong key",
        ),
        ("connecting", "backup.no_answer", ""),
    ],
)
def test_a_storage_that_does_not_answer_is_told_of_in_time(
    tmp_path: Path, restic: Restic, monkeypatch: pytest.MonkeyPatch, said: str, expected: str, reason: str
) -> None:
    monkeypatch.setattr("atelier.backup.restic._ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("atelier.backup.restic._END_SECONDS", 0.2)
    begun = time.monotonic()
    (tmp_path / "says").write_text(said)
    (tmp_path / "hangs").touch()
    with pytest.raises(AtelierError) as error:
        restic.open(create=True)
    refused(error, Code.BACKUP_FAILED, "repository")
    assert id_of(error.value.message) == expected
    assert reason in str(error.value)
    assert time.monotonic() - begun < 10
    assert "init" not in (tmp_path / "words").read_text()


def test_a_bucket_that_is_missing_is_made(tmp_path: Path, restic: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    """restic tries for long to find some of them."""
    monkeypatch.setattr("atelier.backup.restic._ANSWER_SECONDS", 0.5)
    (tmp_path / "says").write_text(
        "Stat returned error, retrying after 3.4s: Stat: The specified bucket does not exist."
    )
    (tmp_path / "hangs").touch()
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    refused(error, Code.VALIDATION_ERROR, "repository")
    assert error.value.details["missing"] is True


@pytest.mark.parametrize(
    "said",
    [
        "Stat: <config/> does not exist",
        "client.GetObject: The specified key does not exist.",
        "RESPONSE 404: The specified blob does not exist.",
        "storage: object doesn't exist",
        "Object Not Found",
    ],
)
def test_old_versions_tell_of_a_missing_repository_in_words(tmp_path: Path, restic: Restic, said: str) -> None:
    (tmp_path / "says").write_text(
        f"Fatal: unable to open config file: {said}\nIs there a repository at the following location?"
    )
    with pytest.raises(AtelierError) as error:
        restic.open(create=False)
    assert id_of(error.value.message) == "backup.no_repository"


def test_a_check_that_fails_is_damage_but_for_a_lock(tmp_path: Path, restic: Restic) -> None:
    (tmp_path / "says").write_text("pack 1234 does not exist\nFatal: repository contains errors")
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.damaged"
    (tmp_path / "says").write_text(
        "pack 1234: does not exist\nopen /srv/12/1234: no such file or directory\nFatal: repository contains errors"
    )
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.damaged"
    (tmp_path / "says").write_text("unable to create lock in backend")
    with pytest.raises(AtelierError) as error:
        restic.check()
    assert id_of(error.value.message) == "backup.locked"


def test_no_repository_is_made_where_something_else_is(tmp_path: Path, restic: Restic) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "data").mkdir()
    missing = "unable to open config file: no such file or directory\nIs there a repository at the following location?"
    (tmp_path / "says").write_text(missing)
    with pytest.raises(AtelierError) as error:
        restic.open(create=True)
    refused(error, Code.VALIDATION_ERROR, "repository")
    assert "init" not in (tmp_path / "words").read_text()
