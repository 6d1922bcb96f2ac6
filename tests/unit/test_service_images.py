"""The services' images: their Dockerfiles begin with the same steps, so that BuildKit runs each of those once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from docker_server import Handler, docker_server

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "roles"
PYTHON = ["api/files", "git_service/files", "recorder/files", "squid/files/image"]


def stage(folder: str, name: str) -> str:
    found = re.search(
        rf"^FROM \S+ AS {name}\n.*?(?=^\n|^FROM )", (ROLES / folder / "Dockerfile").read_text(), re.M | re.S
    )
    assert found, f"{folder} has no stage {name}"
    return found[0]


@pytest.mark.parametrize(("name", "folders"), [("python", PYTHON), ("venv", PYTHON[:3])])
def test_services_share_their_first_layers(name: str, folders: list[str]) -> None:
    stages = {stage(folder, name) for folder in folders}
    assert len(stages) == 1
    # A build argument, a file or a secret would make it a separate layer.
    assert not re.search(r"^(ARG|COPY|ADD)|type=secret", stages.pop(), re.M)


class DockerWithAllImages(Handler):
    """Has an image of any name that it is asked for."""

    def do_GET(self) -> None:
        image = {"Id": "sha256:1", "RepoTags": ["test/base:trixie"], "RepoDigests": [], "Config": {}, "RootFS": {}}
        listed = self.path.split("?")[0].endswith("/images/json")
        self.answer([image] if listed else {"ApiVersion": "1.45", **image})


def play(playbook: Path, variables: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    environment |= {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_ASYNC_DIR": str(playbook.parent / "jobs")}
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [program, "-i", ROOT / "inventory" / "localhost.yml", "-e", json.dumps(variables), playbook]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def with_the_role(folder: Path, context: Path, then: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Runs the role with that build context, and the tasks ``then``."""
    playbook = folder / "playbook.yml"
    playbook.write_text(f"- hosts: localhost\n  tasks:\n    - include_role: {{name: service_image}}\n{then}")
    with docker_server(DockerWithAllImages) as server:
        variables = {
            "atelier_engine_url": f"tcp://{server}",
            "atelier_image_prefix": "test",
            "atelier_state_dir": str(folder),
            "atelier_service_image_name": "service",
            "atelier_service_image_context": str(context),
        }
        return play(playbook, variables | more)


@pytest.mark.parametrize("in_background", [False, True])
def test_an_image_that_is_there_is_no_change(tmp_path: Path, in_background: bool) -> None:
    """Also where the start of a build in the background is all that a task can tell."""
    (tmp_path / "Dockerfile").touch()
    done = with_the_role(
        tmp_path,
        tmp_path,
        "    - async_status: {jid: '{{ item }}'}\n      loop: '{{ atelier_service_image_builds | default([]) }}'\n"
        "      register: waited\n      until: waited.finished\n      retries: 60\n      delay: 1\n"
        "    - debug: {msg: 'waited for {{ atelier_service_image_builds | default([]) | length }}'}\n",
        atelier_service_image_in_background=in_background,
    )
    assert f"waited for {int(in_background)}" in done.stdout, done.stdout + done.stderr
    assert "changed=0 " in done.stdout, done.stdout


def test_the_name_of_an_image_is_that_of_its_files_and_their_names(tmp_path: Path) -> None:
    def named(checkout: str, file: str) -> str:
        context = tmp_path / checkout
        (context / "inner").mkdir(parents=True)
        (context / "Dockerfile").touch()
        (context / "inner" / file).write_text("x = 1\n")
        done = with_the_role(tmp_path, context, "    - debug: {msg: 'the image {{ atelier_service_image }}.'}\n")
        found = re.search(r"the image (test/service:\w+)\.", done.stdout)
        assert found, done.stdout + done.stderr
        return found[1]

    first = named("one", "old.py")
    assert named("two", "old.py") == first
    assert named("three", "new.py") != first


def test_a_build_of_the_base_removes_what_killed_builds_left(tmp_path: Path) -> None:
    """Each is a root file system, and earlier versions gave each build its own folder."""
    folders = ("image.base", "image.a1b2_c3d", "image.new1new1", "image.of-a-site", "image.site")
    for name in folders:
        (tmp_path / "build" / name / "rootfs").mkdir(parents=True)
        long_ago = time.time() - 2 * 86400
        os.utime(tmp_path / "build" / name, None if name == "image.new1new1" else (long_ago, long_ago))
    playbook = tmp_path / "playbook.yml"
    playbook.write_text("- hosts: localhost\n  tasks:\n    - include_role: {name: workspace_image, tasks_from: base}\n")
    with docker_server(DockerWithAllImages) as server:
        variables = {
            "atelier_engine_url": f"tcp://{server}",
            "atelier_image_prefix": "test",
            "atelier_state_dir": str(tmp_path),
            "atelier_workspace_image_base": "site/debian:trixie",
        }
        done = play(playbook, variables)
    assert "Error pulling image site/debian:trixie" in done.stdout, done.stdout + done.stderr
    left = {path.name for path in (tmp_path / "build").iterdir()}
    assert left == {"image.new1new1", "image.of-a-site", "image.site"}
