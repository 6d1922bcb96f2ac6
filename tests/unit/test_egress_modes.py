"""The table of egress modes: what it says, that nothing else names a mode, and that a mode more is known everywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from atelier.egress_modes import DEFAULT_MODE, PROXIED_MODES, Capability, ProxyMode, modes_that_can

ROOT = Path(__file__).parents[2]
TABLE = Path("module_utils/atelier/egress_modes.py")
# Prints what the parts above the core make of the table. It runs where the table has a mode more.
ASK = """
import json
from pydantic import TypeAdapter
from api.pages.words import words
from api.pages.workspaces import create_form, row
from api.schemas.answers import Project
from api.schemas.fields import Mode
from api.schemas.projects import CreateProject

shown = {"id": "0123456789ab", "name": "a", "type": "empty", "status": "running", "group": "g", "workspaceUrl": "",
         "createdAt": "", "lastActivity": "", "notes": "", "passwordProtected": False,
         "memoryLimit": "2g", "cpuCores": "2", "proxyMode": "quarantine"}
config = {"enableProxy": True, "templates": ["empty"], "gitServerEnabled": False}
form = create_form(config, [], words("en"))
closed_form = create_form(config | {"enableProxy": False}, [], words("en"))
print(json.dumps({
    "asked": str(TypeAdapter(Mode).validate_python("quarantine")),
    "request": CreateProject.model_json_schema()["$defs"]["ProxyMode"]["enum"],
    "answer": Project.model_json_schema()["$defs"]["ProxyMode"]["enum"],
    "form": [(mode["value"], mode["label"]) for mode in form["modes"]],
    "without_proxies": [mode["value"] for mode in closed_form["modes"]],
    "row": row(shown, words("en"))["capabilities"],
}))
"""
# Runs the Ansible module workspace with the arguments that are its first one, as JSON.
RUN_MODULE = """
import runpy, sys
import ansible.module_utils
from ansible.module_utils import basic
ansible.module_utils.__path__.append("module_utils")
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[1].encode(), "legacy"
runpy.run_path("library/workspace.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code whose table has the mode ``quarantine``: a proxy that logs, and nothing besides."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("module_utils", "api", "library"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    table = (copy / TABLE).read_text()
    made_up = '    QUARANTINE = "quarantine", "inspector", False, Capability.LOG\n'
    (copy / TABLE).write_text(re.sub(r"( {4}SECURITY = .*\n)", rf"\1{made_up}", table))
    for file in (copy / "api/pages/words").glob("*.json"):
        words = json.loads(file.read_text())
        words |= {"mode.quarantine": "Quarantine", "mode.quarantine.hint": "Everything is logged."}
        file.write_text(json.dumps(words))
    return copy


def _run(checkout: Path, script: str, *arguments: str) -> tuple[int, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=checkout,
        env={"PYTHONPATH": f"{checkout / 'module_utils'}:{checkout}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_schemas_and_pages_know_a_mode_that_is_only_in_the_table(checkout: Path) -> None:
    modes = ["none", "logging", "security", "quarantine"]
    code, known = _run(checkout, ASK)
    assert code == 0
    assert known["asked"] == "quarantine"
    assert known["request"] == known["answer"] == modes
    assert known["form"][-1] == ["quarantine", "Quarantine"]
    assert [value for value, _ in known["form"]] == modes
    assert known["without_proxies"] == ["none"]
    assert known["row"] == ["log"]


def test_the_module_offers_a_mode_that_is_only_in_the_table(checkout: Path) -> None:
    arguments = {"name": "a", "site": {}, "proxy_mode": "carrier-pigeon"}
    code, result = _run(checkout, RUN_MODULE, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    assert code == 1
    assert "none, logging, security, quarantine" in result["msg"]


def test_what_the_modes_can_do() -> None:
    assert {str(mode): (mode.proxy, mode.intercepts, set(mode.capabilities)) for mode in ProxyMode} == {
        "none": (None, False, set()),
        "logging": ("recorder", True, {"record"}),
        "security": ("squid", False, {"log", "whitelist"}),
    }
    assert DEFAULT_MODE.proxy is None
    assert [str(mode) for mode in PROXIED_MODES] == ["logging", "security"]
    assert modes_that_can(Capability.RECORD) == (ProxyMode("logging"),)
    assert ProxyMode("security").proxy_folder(Path("/s")) == Path("/s/squid")
    with pytest.raises(ValueError, match="none has no proxy"):
        DEFAULT_MODE.proxy_folder(Path("/s"))


def test_nothing_but_the_table_names_a_mode() -> None:
    """A mode's name in code is a comparison that the next mode would need, too."""
    named = re.compile(r"ProxyMode\.[A-Z]+|[\"'](?:logging|security)[\"']")
    files = [file for folder in ("module_utils", "api", "library") for file in (ROOT / folder).rglob("*")]
    code = [file for file in files if file.suffix in (".py", ".html", ".js") and "vendor" not in file.parts]
    assert len(code) > 100
    found = {str(file.relative_to(ROOT)): named.findall(file.read_text()) for file in code}
    assert {file for file, names in found.items() if names} == {str(TABLE)}
