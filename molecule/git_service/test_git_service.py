"""The git service as its role runs it. What it does for git clients is in tests/module/test_git_pushes.py."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from atelier.ansible_module import parse_site
from atelier.common.errors import AtelierError, Code
from atelier.common.models import Site
from atelier.git.client import Forge, open_forge
from conftest import playbook
from docker.models.containers import Container

from tests.waiting import eventually

CONVERGE = Path(__file__).with_name("converge.yml")


@pytest.fixture(scope="module")
def installation(site: dict[str, Any]) -> Site:
    return parse_site(site)


@pytest.fixture(scope="module")
def container(site: dict[str, Any]) -> Iterator[Container]:
    client = docker.DockerClient(base_url=site["engine_url"])
    yield client.containers.get(f"{site['instance']}-git")
    client.close()


def answers(forge: Forge) -> bool:
    try:
        return bool(forge.version())
    except AtelierError:
        return False


def wait_for(forge: Forge) -> None:
    eventually(lambda: answers(forge), "the git service answers")


def test_it_has_no_more_rights_than_it_needs(container: Container, installation: Site) -> None:
    settings, host = container.attrs["Config"], container.attrs["HostConfig"]
    assert settings["User"] == "58081:58081"
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] > 0 and host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "always"
    state = installation.state_dir
    modes = {
        "": 0o700,
        "git": 0o711,
        "git/data": 0o700,
        "git/credentials.json": 0o600,
        "git/admin.json": 0o600,
        "gateway": 0o711,
        "gateway/git": 0o711,
    }
    assert {path: stat.S_IMODE((state / path).stat().st_mode) for path in modes} == modes
    code, _ = container.exec_run(["touch", "/opt/git-service/hooks/post-receive"])
    assert code != 0


def test_its_secrets_are_in_its_file_only(container: Container, installation: Site) -> None:
    assert installation.git is not None
    service = json.loads(installation.git.credentials.read_text())
    admin = json.loads(installation.git.credentials.with_name("admin.json").read_text())
    assert (service.pop("user"), admin.pop("user")) == ("atelier-service", "developer")
    secrets = {*service.values(), *admin.values()}
    assert len(secrets) == 3
    seen = (json.dumps(container.attrs) + container.logs().decode()).encode()
    for path in (installation.state_dir / "git/data").rglob("*.sqlite3*"):
        seen += path.read_bytes()
    assert not [secret for secret in secrets if secret.encode() in seen]


def test_it_comes_back_after_a_kill(container: Container, installation: Site) -> None:
    forge = open_forge(installation)
    forge.create_repository("kept", description="before the kill")
    container.reload()
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def was_restarted() -> bool:
        container.reload()
        return bool(container.attrs["RestartCount"])

    eventually(was_restarted, "Docker starts it again")
    wait_for(forge)
    kept = forge.repository("kept")
    assert kept is not None and kept.description == "before the kill"


def test_lost_credentials_are_made_anew(installation: Site) -> None:
    assert installation.git is not None
    old = open_forge(installation)
    installation.git.credentials.unlink()
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert open_forge(installation).repository("kept") is not None
    with pytest.raises(AtelierError) as error:
        old.version()
    assert error.value.code is Code.SERVICE_UNAVAILABLE
    # Somebody else's socket: said, not followed.
    nowhere = replace(installation, git=replace(installation.git, socket=installation.state_dir / "nothing.sock"))
    with pytest.raises(AtelierError) as error:
        open_forge(nowhere).version()
    assert "nothing.sock" in str(error.value)


@pytest.mark.parametrize("content", [{"admin": "", "credentials": "{}\n"}, {"admin": "null", "credentials": '{"use'}])
def test_damaged_credentials_are_lost_ones(installation: Site, content: dict[str, str]) -> None:
    assert installation.git is not None
    files = {name: installation.git.credentials.with_name(f"{name}.json") for name in content}
    for name, file in files.items():
        file.write_text(content[name])
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert all(json.loads(file.read_text())["password"] for file in files.values())
    open_forge(installation).check_credentials()


def test_another_owner_gets_an_account(installation: Site) -> None:
    assert installation.git is not None
    for owner in ("alice", installation.git.owner):
        done = playbook(CONVERGE, "-e", f"atelier_git_admin_user={owner}")
        assert done.returncode == 0, done.stdout
        git = replace(installation.git, owner=owner)
        assert json.loads(git.credentials.with_name("admin.json").read_text())["user"] == owner
        forge = open_forge(replace(installation, git=git))
        assert ("kept" in [found.name for found in forge.repositories()]) is (owner == installation.git.owner)


def test_settings_hold_though_the_run_that_wrote_them_was_cut_short(installation: Site, container: Container) -> None:
    """A file that says already what it should must not keep the service at what it was started with."""
    assert installation.git is not None
    other = ["-e", "atelier_git_service_max_push_bytes=1000000"]
    assert container.client is not None
    before = container.client.containers.get(str(container.name)).id
    file = installation.state_dir / "git" / "settings" / "settings.json"
    file.write_text(file.read_text().replace("1073741824", "1000000"))
    done = playbook(CONVERGE, *other)
    assert done.returncode == 0, done.stdout
    assert container.client.containers.get(str(container.name)).id != before
    assert playbook(CONVERGE).returncode == 0


def test_a_password_that_the_service_does_not_know_is_made_anew(installation: Site) -> None:
    """The token alone is not enough: making a seat's takes the password. An older version kept passwords otherwise."""
    assert installation.git is not None
    known = json.loads(installation.git.credentials.read_text())
    installation.git.credentials.write_text(json.dumps({**known, "password": "x" * 48}))
    done = playbook(CONVERGE)
    assert done.returncode == 0, done.stdout
    made = open_forge(installation)
    made.grant_seat("kept", "0123456789ab", "clone/a")
    made.revoke_seat("0123456789ab")
    assert "Done: 0 changed" in playbook(CONVERGE).stdout
