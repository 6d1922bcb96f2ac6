"""What the role writes for Forgejo: its configuration, and secrets that are this installation's alone."""

from __future__ import annotations

import base64
import configparser
import stat
from pathlib import Path
from typing import Any

import pytest

UID = 1000


@pytest.fixture(scope="module")
def folder(site: dict[str, Any]) -> Path:
    return Path(site["state_dir"]) / "git" / "forgejo-config"


@pytest.fixture(scope="module")
def settings(folder: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read_string("[DEFAULT]\n" + (folder / "app.ini").read_text())
    return found


def test_secrets_are_made_once_and_nobody_else_reads_them(folder: Path) -> None:
    files = {path.name: path for path in folder.iterdir()}
    assert sorted(files) == ["app.ini", "internal_token", "jwt_secret", "secret_key"]
    for path in files.values():
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, UID), path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secret_key, internal = ((folder / name).read_text() for name in ("secret_key", "internal_token"))
    assert len(secret_key) == len(internal) == 64 and secret_key != internal
    # Anything else than 32 bytes Forgejo replaces at each start.
    jwt = (folder / "jwt_secret").read_text()
    assert "=" not in jwt and len(base64.urlsafe_b64decode(jwt + "=")) == 32
    configured = (folder / "app.ini").read_text()
    assert not [secret for secret in (secret_key, internal, jwt) if secret in configured]


def test_it_listens_where_the_gateway_looks(settings: configparser.ConfigParser, site: dict[str, Any]) -> None:
    server = settings["server"]
    assert (server["PROTOCOL"], server["HTTP_ADDR"]) == ("http+unix", "/run/git/http.sock")
    assert server["UNIX_SOCKET_PERMISSION"] == "666"
    assert server["ROOT_URL"] == f"http://localhost:{site['port']}/git/"
    socket_folder = Path(site["state_dir"]) / "gateway" / "git"
    assert socket_folder.stat().st_uid == UID and stat.S_IMODE(socket_folder.stat().st_mode) == 0o711


def test_strangers_get_nothing(settings: configparser.ConfigParser) -> None:
    assert settings["security"].getboolean("INSTALL_LOCK")
    assert settings["security"].getboolean("DISABLE_GIT_HOOKS")
    assert settings["service"].getboolean("DISABLE_REGISTRATION")
    assert settings["service"].getboolean("REQUIRE_SIGNIN_VIEW")
    assert settings["repository"]["MAX_CREATION_LIMIT"] == "0"
    assert settings["database"]["DB_TYPE"] == "sqlite3"
    assert not [
        key for section in settings.values() for key in section if key in ("passwd", "secret_key", "jwt_secret")
    ]
