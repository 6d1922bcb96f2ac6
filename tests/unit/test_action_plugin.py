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
    asked = set(re.findall(r'(?:\.results\.get\(|\bseats_of\(ended, )"(\w+)"', code))
    modules = {module.stem for module in (ROOT / "library").glob("*.py")}
    assert {"workspace_release", "workshop_rehearsal", "workspace_archive"} <= asked <= modules


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
