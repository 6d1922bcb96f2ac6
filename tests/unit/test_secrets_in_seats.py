"""What stands in a snapshot in place of a secret."""

from __future__ import annotations

import json

import pytest
from atelier.secrets_in_seats import KNOWN_PLACES, blank, empty_json, without_git_credentials


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
    }
    assert {f"{home}/{name}" for name in expected} | {"/workspace/.git/config"} <= set(KNOWN_PLACES)
    # A place inside another would be held back twice, and the second time its stand-in taken for the original.
    for place in KNOWN_PLACES:
        assert not any(place.startswith(f"{other}/") for other in KNOWN_PLACES)
