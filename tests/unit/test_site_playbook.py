"""``./atelier up`` and ``down``, and their playbooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import pytest
import yaml
from docker_server import Handler, docker_server
from test_argument_specs import ENTRIES, of_entry

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
SETTINGS = PLAYBOOKS / "tasks" / "settings.yml"


@pytest.mark.parametrize(
    ("given", "told", "inventory"),
    [
        ("atelier_api_start_timeout=60", "set atelier_service_container_start_timeout instead", "localhost.yml"),
        ("atelier_docker_host_systemd=false", "set atelier_systemd instead", "localhost.yml"),
        ("atelier_base_prot=8080", "atelier_base_prot is no setting", "localhost.yml"),
        ("atelier_service_container_start_timeout=60", None, "localhost.yml"),
        ("workshop_seats=2", None, "three.yml"),
    ],
)
def test_a_setting_without_effect_is_not_ignored_in_silence(
    tmp_path: Path, given: str, told: str | None, inventory: str
) -> None:
    for name in ("inventory", "roles"):
        (tmp_path / name).symlink_to(PLAYBOOKS.parent / name)
    alone = tmp_path / "playbooks" / "alone.yml"
    alone.parent.mkdir()
    alone.write_text(f"- hosts: controller:nodes\n  tasks: [include_tasks: '{SETTINGS}']\n")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    program = [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "inventory" / inventory, alone]
    done = subprocess.run([*program, "-e", given], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) is (told is None), done.stdout + done.stderr
    assert (told or "") in done.stdout


@pytest.mark.parametrize(("playbook", "tasks"), [("site.yml", "pre_tasks"), ("restore.yml", "tasks")])
def test_they_are_refused_before_anything_is_changed(playbook: str, tasks: str) -> None:
    first = yaml.safe_load((PLAYBOOKS / playbook).read_text())[0][tasks][0]
    assert first["ansible.builtin.include_tasks"] == "tasks/settings.yml"


def test_a_restore_ends_at_a_node_s_setting_of_an_earlier_version(tmp_path: Path) -> None:
    """Before the present installation is removed."""
    first, *_ = yaml.safe_load((PLAYBOOKS / "restore.yml").read_text())
    first["tasks"][0]["ansible.builtin.include_tasks"] = str(SETTINGS)
    alone, inventory = tmp_path / "playbook.yml", tmp_path / "inventory.yml"
    alone.write_text(yaml.safe_dump([first, {"hosts": "localhost", "tasks": [{"debug": {"msg": "goes on"}}]}]))
    nodes = {"alpha": {"atelier_docker_host_systemd": False}}
    groups = {"controller": {"hosts": {"localhost": {}}}, "nodes": {"hosts": nodes}}
    inventory.write_text(yaml.safe_dump({"all": {"children": groups}}))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    words = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, alone]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "set atelier_systemd instead" in done.stdout, done.stdout + done.stderr
    assert done.returncode and "goes on" not in done.stdout


@pytest.mark.parametrize(
    ("words", "there", "refused"),
    [
        (["--check"], None, True),
        (["--check"], "installed.json", False),
        (["--check"], "registry.sqlite3", False),
        ([], None, False),
    ],
)
def test_a_check_says_that_nothing_is_installed(
    tmp_path: Path, words: list[str], there: str | None, refused: bool
) -> None:
    """It failed in the middle, at a certificate or an image that it had only said it would make."""
    (task,) = [
        task for task in yaml.safe_load((PLAYBOOKS / "site.yml").read_text())[0]["pre_tasks"] if "check" in task["name"]
    ]
    if there:
        (tmp_path / there).touch()
    alone = tmp_path / "playbook.yml"
    alone.write_text(yaml.safe_dump([{"hosts": "controller", "tasks": [task]}]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    program = [Path(sys.executable).with_name("ansible-playbook"), "-e", f"atelier_state_dir={tmp_path}", alone]
    done = subprocess.run(
        [*program, *words], cwd=PLAYBOOKS.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 2) is refused, done.stdout + done.stderr
    assert ("Nothing is installed in" in done.stdout) is refused


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_a_renamed_setting_is_read_by_its_new_name_only() -> None:
    read = set().union(*(of_entry(role, entry).read for role, entry in ENTRIES))
    task, _ = yaml.safe_load(SETTINGS.read_text())
    renamed = task["vars"]["renamed"]
    assert not read & {*renamed}
    settings = yaml.safe_load((PLAYBOOKS.parent / "inventory/group_vars/all/platform.yml").read_text())
    assert {*renamed.values()} <= read | settings.keys()


def test_a_purge_lists_snapshots_when_nobody_makes_one_any_more() -> None:
    """Until API and seats are stopped, a clone or a checkpoint can make one, which would stay."""
    tasks = yaml.safe_load((PLAYBOOKS / "tasks" / "purge.yml").read_text())
    names = [task["name"] for task in tasks]
    at = names.index("List the snapshots, and the networks of other instances with the same images")
    listed = tasks[at]
    remove = tasks[names.index("Remove the images")]
    assert f"{listed['register']}.images" in remove["loop"][0]
    # The instance's own networks are gone by then: those that are left belong to others.
    assert names.index("Remove the containers") < names.index("Remove the networks") < at
    assert at < names.index("Remove the images")


def test_jobs_in_the_background_leave_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """No purge finds it there."""
    script = f". '{PLAYBOOKS.parent}/atelier' help >/dev/null; printenv ANSIBLE_ASYNC_DIR"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
    environment |= {"HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{PLAYBOOKS.parent}/.ansible/async\n", done.stderr


class Docker(Handler):
    """Lists the platform, and a seat that the API makes until it is stopped."""

    calls: ClassVar[Path]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        stopped = self.calls.read_text().split() if self.calls.exists() else []
        running = {name: "exited" if name in stopped[4:] else "running" for name in ("atelier-api", "atelier-seat-1")}
        if "atelier-api" in stopped[4:]:
            running["atelier-seat-2"] = "running"
        labels = {"atelier-api": {"atelier.service": "api"}}
        listed = [
            {"Id": name, "Names": [f"/{name}"], "State": state, "Labels": labels.get(name, {})}
            for name, state in running.items()
            if name in labels or "atelier.service" not in unquote(query)
        ]
        answers = {"/version": {"ApiVersion": "1.45"}, "/containers/json": listed, "/volumes": {"Volumes": []}}
        other: list[str] | dict[str, str] = [] if "networks" in path else {}
        self.answer(next((answer for end, answer in answers.items() if path.endswith(end)), other))


def test_a_seat_that_is_made_while_the_api_stops_is_stopped_too(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\nshift 2\necho "$@" >>{calls}\n')
    program.chmod(0o755)
    with docker_server(Docker, calls=calls) as server:
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
        engine = f"atelier_engine_url=tcp://{server}"
        words = [Path(sys.executable).with_name("ansible-playbook"), "-e", engine, PLAYBOOKS / "platform_down.yml"]
        done = subprocess.run(words, cwd=PLAYBOOKS.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [call.split() for call in calls.read_text().splitlines()] == [
        ["update", "--restart", "unless-stopped", "atelier-api"],
        ["stop", "atelier-api"],
        ["stop", "atelier-seat-1", "atelier-seat-2"],
    ]
