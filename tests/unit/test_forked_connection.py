"""The connection that runs modules in a copy of Ansible's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# `how` selects its action.
MODULE = """\
import os, signal, sys
from ansible.module_utils.basic import AnsibleModule

def main():
    module = AnsibleModule({"how": {"type": "str", "required": True}, "secret": {"type": "str", "no_log": True}})
    how = module.params["how"]
    if how == "crash":
        raise RuntimeError("crashed as asked")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "noise":
        sys.stderr.write("noise\\n" * 50_000)
    if how == "large":
        module.exit_json(text="x" * 3_000_000)
    if how == "fail":
        module.fail_json(msg="failed as asked", code=7)
    if how == "change":
        os.chdir("/usr")
        os.environ["CHANGED"] = "yes"
    module.warn("warned as asked")
    module.exit_json(
        changed=True,
        folder=os.getcwd(),
        environment=os.environ.get("CHANGED"),
        temporary=module.tmpdir,
        loaded="ansible.executor" in sys.modules,
        asked=sys.stdin.read(),
        secret=module.params["secret"],
    )

main()
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    for folder in ("library", "ansible_collections/tests/forked/plugins/modules"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "probe.py").write_text(MODULE)

    def play(*tasks: dict[str, Any], connection: str = "forked") -> tuple[int, list[dict[str, Any]], str]:
        """The exit code, the result of each task that ended, and the output."""
        variables = {"ansible_connection": connection, "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = tmp_path / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))
        playbook = tmp_path / "playbook.json"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_LIBRARY": str(tmp_path / "library"),
                "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "LC_ALL": "C.UTF-8",
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        told = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
        results = [task["hosts"]["localhost"] for task in told["plays"][0]["tasks"]]
        return done.returncode, results, done.stdout + done.stderr

    return play


def probe(how: str, **more: Any) -> dict[str, Any]:
    return {"name": how, "tests.forked.probe": {"how": how, **more}}


def test_a_module_runs_in_a_copy_of_the_process(run: Any) -> None:
    """It answers like one with a separate interpreter."""
    secret = "canary-of-the-module"
    code, [answer], output = run(probe("answer", secret=secret))
    assert code == 0, output
    assert (answer["loaded"], answer["asked"], answer["changed"]) == (True, "", True)
    assert not Path(answer["temporary"]).exists(), "what it registered for its end was done"
    assert "warned as asked" in output
    assert secret not in output
    _, [other], _ = run(probe("answer", secret=secret), connection="local")
    volatile = {"temporary", "loaded"}
    assert {name for name in answer if answer[name] != other.get(name)} - volatile == set()
    assert other["loaded"] is False


def test_what_a_module_changes_in_its_process_is_gone_with_it(run: Any) -> None:
    task = {**probe("{{ item }}"), "loop": ["change", "answer"]}
    code, [loop], output = run(task)
    assert code == 0, output
    changed, after = loop["results"]
    assert (changed["folder"], changed["environment"]) == ("/usr", "yes")
    assert after["folder"] != "/usr"
    assert after["environment"] is None


@pytest.mark.parametrize(
    ("how", "told"),
    [("crash", "crashed as asked"), ("fail", "failed as asked"), ("killed", "-9")],
)
def test_a_module_that_fails_fails_its_task_alone(run: Any, how: str, told: str) -> None:
    code, results, output = run({**probe(how), "ignore_errors": True}, probe("answer"))
    assert code == 0, output
    assert results[0]["failed"]
    assert told in json.dumps(results[0])
    assert results[1]["changed"]


@pytest.mark.parametrize("how", ["noise", "large"])
def test_much_output_is_no_matter(run: Any, how: str) -> None:
    code, [answer], output = run(probe(how))
    assert code == 0, output[-2000:]
    assert len(answer.get("text", "")) == (3_000_000 if how == "large" else 0)


def test_an_environment_gets_an_interpreter_of_its_own(run: Any) -> None:
    code, [answer], output = run({**probe("answer"), "environment": {"CHANGED": "by the task"}})
    assert code == 0, output
    assert (answer["environment"], answer["loaded"]) == ("by the task", False)


def test_a_module_of_a_library_folder_gets_one_too(run: Any) -> None:
    """It can be imported out of the packed program only."""
    code, [answer], output = run({"probe": {"how": "answer"}})
    assert code == 0, output
    assert (answer["changed"], answer["loaded"]) == (True, False)
