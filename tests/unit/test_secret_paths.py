"""The replacement of secrets in a snapshot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from atelier.containers.secret_paths import (
    KNOWN_PLACES,
    VARIABLES,
    blank,
    empty_json,
    is_tracked,
    may_hold_secrets,
    names_only,
    without_git_credentials,
)


@pytest.mark.parametrize(
    ("config", "safe"),
    [
        (b"\turl = https://user:token@host/x.git\n", b"\turl = https://host/x.git\n"),
        (b"\turl = https://token@host/x.git\n", b"\turl = https://host/x.git\n"),
        (b"\turl = https://user:p@ss:w@rd@host/x.git\n", b"\turl = https://host/x.git\n"),
        (b"\turl = http://a:b@[::1]:3000/x\n", b"\turl = http://[::1]:3000/x\n"),
        (
            b'[url "https://tok@host/"]\n\tinsteadOf = "https://host/"\n',
            b'[url "https://host/"]\n\tinsteadOf = "https://host/"\n',
        ),
        (b"[http]\n\textraHeader = AUTHORIZATION: basic QUJD\n", b"[http]\n\textraHeader =\n"),
        (b'[http "https://h/"]\n  extraheader=Bearer QUJD\n', b'[http "https://h/"]\n  extraheader=\n'),
        (
            b"[github]\n\toauthToken = QUJD\n[sendemail]\n\tsmtpPass=QUJD\n",
            b"[github]\n\toauthToken =\n[sendemail]\n\tsmtpPass=\n",
        ),
        # Nothing secret: left as it is, byte for byte.
        (b"\turl = https://host/user@example/x.git\n", b"\turl = https://host/user@example/x.git\n"),
        (b"\turl = git@host:x.git\n", b"\turl = git@host:x.git\n"),
        (
            b"[user]\n\temail = someone@example.org\n\r\n\xff\xfe",
            b"[user]\n\temail = someone@example.org\n\r\n\xff\xfe",
        ),
        (b"", b""),
    ],
)
def test_git_configurations(config: bytes, safe: bytes) -> None:
    assert without_git_credentials(config) == safe
    assert without_git_credentials(safe) == safe


def test_the_others_keep_nothing() -> None:
    assert blank(b"secret") == b""
    assert json.loads(empty_json(b'{"token": "secret"}')) == {}


def test_variables_keep_their_names() -> None:
    content = b"# canary\nexport TOKEN=canary\n  PORT=3000\nKEY='canary\ncanary'\n\ncanary\n"
    assert names_only(content) == b"export TOKEN=\n  PORT=\nKEY=\n"


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/home/coder/dotfiles/ssh", True),
        ("/workspace/keys/deploy", True),
        ("/home/coder/.ssh", True),
        *((path, False) for path in ("/", "/etc", "/home", "/home/coder", "/workspace", "/workspace/.git", "/proc/1")),
        *((path, False) for path in ("/home/coder/.config", "/home/coderx/a", "/etc/code-server/config.yaml")),
    ],
)
def test_where_links_may_lead(path: str, may: bool) -> None:
    assert may_hold_secrets(PurePosixPath(path)) is may


def test_the_usual_places_are_known() -> None:
    home = "/home/coder"
    expected = {
        ".git-credentials",
        ".config/git/credentials",
        ".bash_history",
        ".ssh",
        ".npmrc",
        ".netrc",
        ".gitconfig",
        ".m2/settings.xml",
        ".gradle/gradle.properties",
        ".cargo/credentials.toml",
        ".claude.json",
        ".gemini",
        ".config/composer/auth.json",
        ".local/share/code-server/User/globalStorage/state.vscdb",
    }
    assert "/workspace/.env" in KNOWN_PLACES
    assert {f"{home}/{name}" for name in expected} | {"/workspace/.git/config"} <= set(KNOWN_PLACES)
    # A place inside another would be held back twice, and the second time its stand-in taken for the original.
    for place in KNOWN_PLACES:
        assert not any(place.startswith(f"{other}/") for other in KNOWN_PLACES)


def test_variables_that_are_committed_are_part_of_the_exercise(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    for name in (".env", "x.env", "src/.envrc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("A=1\n")
    git("add", "x.env", "src")
    index = tmp_path / ".git" / "index"
    assert [is_tracked(index.read_bytes(), place) for place in VARIABLES] == [False] * 4
    git("add", ".env")
    assert [is_tracked(index.read_bytes(), place) for place in VARIABLES] == [True, False, False, False]
    assert not is_tracked(b"", VARIABLES[0])
