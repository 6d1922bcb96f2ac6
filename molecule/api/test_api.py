"""The API as the role runs it: behind the gateway, for callers from here and from elsewhere, back after a kill."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import playbook
from docker.models.containers import Container

from tests.waiting import eventually

CONVERGE = Path(__file__).with_name("converge.yml")


@pytest.fixture(scope="module")
def container(site: dict[str, Any]) -> Container:
    return docker.DockerClient(base_url=site["engine_url"]).containers.get(f"{site['instance']}-api")


def converge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the role under test again, without those that it stands on."""
    return playbook(CONVERGE, "--skip-tags", "platform", *arguments)


def ask(site: dict[str, Any], path: str) -> tuple[int, dict[str, Any]]:
    """The API's answer to this machine, by the way of the gateway."""
    with closing(http.client.HTTPConnection("127.0.0.1", site["port"], timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def status_for(caller: Container, site: dict[str, Any], address: str, path: str, header: str = "X-Nothing: 1") -> str:
    """The status line for somebody on another machine, played by a container."""
    ask = (
        f"exec 3<>/dev/tcp/{address}/{site['port']}; printf 'GET {path} HTTP/1.1\\r\\nHost: {site['domain']}\\r\\n"
        f"{header}\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3"
    )
    output: bytes = caller.exec_run(["timeout", "30", "bash", "-c", ask]).output
    return output.decode().strip()


def token_file(site: dict[str, Any]) -> Path:
    return Path(site["state_dir"]) / "api/token"


def test_it_answers_this_machine_without_a_token(site: dict[str, Any]) -> None:
    status, health = ask(site, "/api/health")
    assert (status, health["status"]) == (200, "ok")
    assert "docker" not in health
    status, projects = ask(site, "/api/projects/")
    assert (status, projects["projects"]) == (200, [])


def test_the_image_holds_nothing_of_the_inventory(container: Container) -> None:
    held = container.exec_run(["ls", "/opt/atelier"]).output.decode().split()
    assert held == ["ansible.cfg", "api", "docs", "library", "module_utils", "playbooks", "plugins", "roles"]


def test_it_serves_the_pages_and_their_files(site: dict[str, Any]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", site["port"], timeout=60)) as connection:
        connection.request("GET", "/", headers={"Accept-Language": "de"})
        answer = connection.getresponse()
        page = answer.read().decode()
        assert (answer.status, "Neuer Workspace" in page) == (200, True)
        for file in re.findall(r'"(/static/[^"]+)"', page):
            connection.request("GET", file)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 100) == (200, True), file


def test_others_need_the_token(site: dict[str, Any], start: Callable[..., Container]) -> None:
    caller = start("sleep", "infinity")
    caller.reload()
    gateway = caller.attrs["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    token = token_file(site).read_text().strip()
    assert status_for(caller, site, gateway, "/api/health") == "HTTP/1.1 200 OK"
    assert status_for(caller, site, gateway, "/api/projects/") == "HTTP/1.1 401 Unauthorized"
    assert status_for(caller, site, gateway, "/api/projects/", "Authorization: Bearer wrong") == (
        "HTTP/1.1 401 Unauthorized"
    )
    assert status_for(caller, site, gateway, "/api/projects/", f"Authorization: Bearer {token}") == "HTTP/1.1 200 OK"


def test_a_seat_reaches_none_of_it(site: dict[str, Any], start: Callable[..., Container]) -> None:
    hosts = IPv4Network(site["networks"]["none"]["subnet"])
    seat = start("sleep", "infinity", address=str(hosts.network_address + 40))
    token = token_file(site).read_text().strip()
    bridge = str(next(hosts.hosts()))
    assert status_for(seat, site, bridge, "/api/health") == "HTTP/1.1 403 Forbidden"
    assert status_for(seat, site, bridge, "/api/projects/", f"Authorization: Bearer {token}") == (
        "HTTP/1.1 403 Forbidden"
    )


def test_what_it_keeps_is_roots_alone(site: dict[str, Any], container: Container) -> None:
    folder = token_file(site).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("token", "settings.json")} == {0o600}
    token = token_file(site).read_text().strip()
    assert token not in json.dumps(container.attrs)
    assert token not in container.logs().decode()


def test_the_container_has_little_power_of_its_own(container: Container) -> None:
    settings = container.attrs["HostConfig"]
    assert settings["ReadonlyRootfs"]
    assert settings["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in settings["SecurityOpt"]
    assert settings["RestartPolicy"]["Name"] == "always"
    assert settings["Memory"] == settings["MemorySwap"] > 0 and settings["PidsLimit"] > 0


def test_it_comes_back_after_a_kill(site: dict[str, Any], container: Container) -> None:
    container.reload()
    token = token_file(site).read_text()
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def is_back() -> bool:
        container.reload()
        return bool(container.attrs["RestartCount"]) and ask(site, "/api/health")[0] == 200

    eventually(is_back, "the API answers again")
    assert token_file(site).read_text() == token


def test_changed_settings_hold_at_once(site: dict[str, Any]) -> None:
    run = converge("-e", "atelier_max_concurrent_workspaces=7")
    assert run.returncode == 0, run.stdout
    assert ask(site, "/api/limits")[1]["maxConcurrentWorkspaces"] == 7
    again = converge("-e", "atelier_max_concurrent_workspaces=7")
    assert again.returncode == 0, again.stdout
    assert "0 changed" in again.stdout


def test_settings_that_make_no_sense_are_refused(site: dict[str, Any]) -> None:
    for setting in ("atelier_api_auth=sometimes", "atelier_workshop_end=tomorrow"):
        run = converge("-e", setting)
        assert run.returncode != 0
        assert setting.partition("=")[0] in run.stdout
    assert ask(site, "/api/health")[0] == 200


def test_its_log_tells_who_may_call(site: dict[str, Any], container: Container) -> None:
    run = converge("-e", "atelier_api_auth=open")
    assert run.returncode == 0, run.stdout
    log = subprocess.run(
        ["docker", "--host", site["engine_url"], "logs", container.name], capture_output=True, text=True, check=True
    )
    assert "API_AUTH=open" in log.stdout + log.stderr
