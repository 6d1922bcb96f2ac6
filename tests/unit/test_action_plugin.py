"""The action plugin that runs Atelier's modules on the controller."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_module_has_its_link() -> None:
    modules = {module.name for module in (ROOT / "library").glob("*.py")}
    assert {link.name for link in (ROOT / "plugins" / "action").glob("*.py")} == modules


def test_the_api_asks_for_results_of_modules_that_exist() -> None:
    """A wrong name would be no error, only an outcome without its seats."""
    code = "".join(path.read_text() for path in (ROOT / "api").rglob("*.py"))
    asked = set(re.findall(r'(?:\.results\.get\(|\bseats_of\(ended, |\b_errors_of\()"(\w+)"', code))
    asked |= set(re.findall(r'\b_of_several\("\w+", "(\w+)"', code))
    modules = {module.stem for module in (ROOT / "library").glob("*.py")}
    assert {"workspace_release", "workspace_revive", "workspace_archive", "cluster_node"} <= asked <= modules


@pytest.mark.parametrize(
    ("connection", "order", "runs"),
    [("local", ["port_check", "-a", "port=1 field=atelier_base_port"], True), ("ssh", ["workspace_alias"], False)],
)
def test_a_module_for_another_machine_is_refused(connection: str, order: list[str], runs: bool) -> None:
    """It would work on this one, whatever the task says."""
    program = Path(sys.executable).with_name("ansible")
    words = ["all", "-i", "elsewhere,", "-c", connection, "-m", *order]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([program, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is runs, done.stdout + done.stderr
    assert runs or "runs on the controller only, not over ssh" in done.stdout + done.stderr


def run_module(folder: Path, module: str, play: str, task: str) -> str:
    """The output of a play with one task, a module of the name ``shows``."""
    for name in ("library", "action"):
        (folder / name).mkdir()
    (folder / "library" / "shows.py").write_text(f"{module}\nif __name__ == '__main__':\n    main()\n")
    (folder / "action" / "shows.py").symlink_to(ROOT / "plugins" / "action" / "workspace.py")
    playbook = folder / "playbook.yml"
    tasks = f"    - shows:\n{task}\n      register: seen\n    - debug: {{msg: '{{{{ seen.msg }}}}'}}\n"
    playbook.write_text(f"- hosts: all\n  gather_facts: false\n{play}  tasks:\n{tasks}")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_LIBRARY": str(folder / "library"),
        "ANSIBLE_ACTION_PLUGINS": str(folder / "action"),
        "LC_ALL": "C.UTF-8",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [program, "-i", "elsewhere,", "-c", "local", playbook]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


_SHOWS_ITS_PROCESS = """
import os, sys
from ansible.module_utils.basic import AnsibleModule
DOCUMENTATION = "extends_documentation_fragment: [atelier.check]"
def main():
    forked = 'ansible.plugins.loader' in sys.modules
    AnsibleModule({}).exit_json(msg=f"mark={os.environ.get('MARK')} forked={forked}")
"""


@pytest.mark.parametrize(
    ("keyword", "shown"),
    [
        ("name: Neither", "mark=None forked=True"),
        ("environment: {MARK: here}", "mark=here forked=False"),
        pytest.param(
            "become: true\n      become_method: su",
            "mark=None forked=False",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="su asks others than root for a password"),
        ),
    ],
)
def test_a_task_gets_its_environment_and_its_user(tmp_path: Path, keyword: str, shown: str) -> None:
    """The module gets them in a separate process: the worker has neither."""
    said = run_module(tmp_path, _SHOWS_ITS_PROCESS, "", f"      {keyword}")
    assert shown in said, said


_SHOWS_ITS_OPTIONS = """
from ansible.module_utils.basic import AnsibleModule
DOCUMENTATION = "extends_documentation_fragment: [atelier, atelier.keep_hours, atelier.check]"
def main():
    options = {"site": {"type": "dict"}, "ready_timeout": {"type": "float"}, "keep_hours": {"default": 24}}
    module = AnsibleModule(options)
    module.exit_json(msg="{site} {ready_timeout} {keep_hours}".format(**module.params))
"""


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("        {}", "{'domain': 'example.org'} 61.0 24"),
        ("        {site: {domain: elsewhere}, ready_timeout: 5}", "{'domain': 'elsewhere'} 5.0 24"),
        ("        {}\n      environment: {MARK: here}", "{'domain': 'example.org'} 61.0 24"),
    ],
)
def test_a_task_gets_what_the_inventory_says_of_the_installation(tmp_path: Path, task: str, shown: str) -> None:
    """Unless it says something else; also in a separate process. A variable that there is not leaves the default."""
    play = "  vars: {named: example.org, atelier_site: {domain: '{{ named }}'}, atelier_ready_timeout: 61}\n"
    said = run_module(tmp_path, _SHOWS_ITS_OPTIONS, play, task)
    assert shown in said, said


def test_a_password_and_its_hash_exclude_each_other() -> None:
    program = Path(sys.executable).with_name("ansible")
    order = "name=a password=secret-1234 password_hash=argon2id"
    words = [program, "all", "-i", "elsewhere,", "-c", "local", "-m", "workspace", "-a", order]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "mutually exclusive: password|password_hash" in done.stdout + done.stderr
