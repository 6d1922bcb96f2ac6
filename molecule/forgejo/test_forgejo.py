"""The files and accounts that the role creates for Forgejo, with a simulated Forgejo (stand_in/forgejo)."""

from __future__ import annotations

import base64
import configparser
import http.client
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import playbook
from docker.models.containers import Container

UID = 1000
CONVERGE = Path(__file__).with_name("converge.yml")


class Forgejo:
    """The server that the role made, asked on its socket."""

    def __init__(self, state: Path) -> None:
        self.files = {name: state / "git" / f"{name}.json" for name in ("admin", "credentials")}
        self._socket = state / "gateway" / "git" / "http.sock"

    def account(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.files[name].read_text())
        return found

    def as_account(self, account: dict[str, str]) -> tuple[int, Any]:
        """Asks Forgejo for the account's user, signed in with its password."""
        pair = base64.b64encode(f"{account['user']}:{account['password']}".encode()).decode()
        return self.ask("GET", "/user", f"Basic {pair}")

    def ask(self, method: str, path: str, authorization: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self._socket))
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None


@pytest.fixture(scope="module")
def forgejo(site: dict[str, Any]) -> Forgejo:
    return Forgejo(Path(site["state_dir"]))


@pytest.fixture(scope="module")
def container(site: dict[str, Any]) -> Iterator[Container]:
    client = docker.DockerClient(base_url=site["engine_url"])
    yield client.containers.get(f"{site['instance']}-git")
    client.close()


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
    assert server["ROOT_URL"] == f"http://git.localhost:{site['port']}/git/"
    socket_folder = Path(site["state_dir"]) / "gateway" / "git"
    assert socket_folder.stat().st_uid == UID and stat.S_IMODE(socket_folder.stat().st_mode) == 0o711


def test_strangers_get_nothing(settings: configparser.ConfigParser) -> None:
    assert settings["security"].getboolean("INSTALL_LOCK")
    assert settings["security"].getboolean("DISABLE_GIT_HOOKS")
    assert settings["service"].getboolean("DISABLE_REGISTRATION")
    assert settings["service"].getboolean("REQUIRE_SIGNIN_VIEW")
    assert settings["repository"]["MAX_CREATION_LIMIT"] == "0"
    assert settings["security"]["PASSWORD_HASH_ALGO"] == "argon2$2$19456$1$50"
    assert settings["database"]["DB_TYPE"] == "sqlite3"
    assert not [
        key for section in settings.values() for key in section if key in ("passwd", "secret_key", "jwt_secret")
    ]


def test_people_and_atelier_have_an_account_each(forgejo: Forgejo) -> None:
    admin, service = forgejo.account("admin"), forgejo.account("credentials")
    assert (set(admin), admin["user"]) == ({"user", "password"}, "developer")
    assert (set(service), service["user"]) == ({"user", "password", "token"}, "atelier-service")
    assert admin["password"] != service["password"] and len(admin["password"]) == len(service["password"]) == 48
    for account in (admin, service):
        status, found = forgejo.as_account(account)
        assert (status, found["login"], found["is_admin"]) == (200, account["user"], True)
    for path in forgejo.files.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_token_does_what_atelier_needs_and_no_more(forgejo: Forgejo) -> None:
    """Its scopes: users and their rights, repositories; no rights on its own account."""
    token = f"token {forgejo.account('credentials')['token']}"
    made = forgejo.ask("POST", "/admin/users/developer/repos", token, {"name": "course"})
    assert (made[0], made[1]["full_name"]) == (201, "developer/course")
    assert [found["name"] for found in forgejo.ask("GET", "/users/developer/repos", token)[1]] == ["course"]
    assert forgejo.ask("POST", "/users/developer/tokens", token, {"name": "x", "scopes": ["all"]})[0] == 401


def test_no_secret_is_seen_outside_its_file(forgejo: Forgejo, container: Container) -> None:
    secrets = {value for name in forgejo.files for key, value in forgejo.account(name).items() if key != "user"}
    seen = json.dumps(container.attrs) + container.logs().decode()
    for folder in (forgejo.files["admin"].parent / "forgejo-config", forgejo.files["admin"].parent / "forgejo-data"):
        seen += "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert len(secrets) == 3 and not [secret for secret in secrets if secret in seen]


def test_a_password_that_was_changed_stays_and_lost_ones_are_made_anew(forgejo: Forgejo) -> None:
    service = forgejo.account("credentials")
    own = {"source_id": 0, "login_name": "developer", "password": "changed-in-forgejo-by-one-of-its-users"}
    assert forgejo.ask("PATCH", "/admin/users/developer", f"token {service['token']}", own)[0] == 200
    changed = {"user": "developer", "password": "changed-in-forgejo-by-one-of-its-users"}
    forgejo.files["credentials"].unlink()
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert forgejo.account("credentials")["password"] != service["password"]
    assert forgejo.as_account(service)[0] == 401
    assert forgejo.as_account(changed)[0] == 200
    forgejo.files["admin"].unlink()
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert forgejo.as_account(changed)[0] == 401
    assert forgejo.as_account(forgejo.account("admin"))[0] == 200


def test_damaged_credentials_are_lost_ones(forgejo: Forgejo) -> None:
    for content in ({"admin": "", "credentials": "{}\n"}, {"admin": "null", "credentials": '{"user": "a", "passw'}):
        for name, path in forgejo.files.items():
            path.write_text(content[name])
        done = playbook(CONVERGE)
        assert done.returncode == 0, done.stdout
        for name in forgejo.files:
            assert forgejo.as_account(forgejo.account(name))[0] == 200


def test_an_account_that_must_change_its_password_is_let_go_on(forgejo: Forgejo) -> None:
    """`forgejo admin user change-password` leaves an account in that state."""
    (forgejo.files["admin"].parent / "forgejo-data" / "must-change-password").write_text("atelier-service")
    assert forgejo.as_account(forgejo.account("credentials"))[0] == 403
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert forgejo.as_account(forgejo.account("credentials"))[0] == 200


def test_a_password_that_forgejo_does_not_know_is_made_anew(forgejo: Forgejo) -> None:
    """The token alone is not enough: making a seat's takes the password."""
    service = forgejo.account("credentials")
    other = {"source_id": 0, "login_name": "atelier-service", "password": "changed-by-somebody-in-forgejo-itself"}
    assert forgejo.ask("PATCH", "/admin/users/atelier-service", f"token {service['token']}", other)[0] == 200
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    made = forgejo.account("credentials")
    assert made["password"] != service["password"]
    assert forgejo.as_account(made)[0] == 200
    assert "Done: 0 changed" in playbook(CONVERGE).stdout


def test_another_configuration_is_another_container(folder: Path, forgejo: Forgejo, container: Container) -> None:
    """Not a restart after a file was written: a run may have ended between the two."""
    done = playbook(CONVERGE, "-e", "atelier_protocol=https")
    assert done.returncode == 0, done.stdout
    assert "COOKIE_SECURE = true" in (folder / "app.ini").read_text()
    assert container.client is not None
    assert container.client.containers.get(str(container.name)).id != container.id
    assert forgejo.as_account(forgejo.account("credentials"))[0] == 200
