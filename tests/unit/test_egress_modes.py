"""The table of egress modes: its content, no other code names a mode, and a new mode is known everywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from atelier.common.egress_modes import DEFAULT_MODE, PROXIED_MODES, Capability, ProxyMode, modes_that_can

from api.web.i18n import words

ROOT = Path(__file__).parents[2]
TABLE = Path("module_utils/atelier/common/egress_modes.py")
# Prints what the parts above the core make of the table. It runs where the table has a mode more.
ASK = """
import json
from pydantic import TypeAdapter
from atelier.common.egress_modes import ProxyMode
from atelier.common.validation import check_proxy_mode
from api.web.i18n import words
from api.web.presenters.workspaces import create_form, row
from api.schemas.fields import Mode
from api.schemas.projects import CreateProject, Project

shown = {"id": "0123456789ab", "name": "a", "type": "empty", "status": "running", "group": "g", "workspaceUrl": "",
         "createdAt": "", "lastActivity": "", "notes": "", "passwordProtected": False, "error": "w",
         "memoryLimit": "2g", "cpuCores": "2", "proxyMode": "quarantine", "node": "controller",
         "imageOutdated": False, "stoppedFor": None, "diskWarning": None}
config = {"enableProxy": True, "templates": ["empty"], "gitServerEnabled": False}
form = create_form(config, [], words("en"))
closed_form = create_form(config | {"enableProxy": False}, [], words("en"))
print(json.dumps({
    "asked": str(TypeAdapter(Mode).validate_python("quarantine")),
    "accepted": str(check_proxy_mode("quarantine", [*ProxyMode])),
    "request": CreateProject.model_json_schema()["$defs"]["ProxyMode"]["enum"],
    "answer": TypeAdapter(Project).json_schema()["$defs"]["ProxyMode"]["enum"],
    "form": [(mode, words("en")(f"mode.{mode}")) for mode in form["modes"]],
    "without_proxies": closed_form["modes"],
    "row": row(shown)["capabilities"],
}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code whose table has the mode ``quarantine``: a proxy that logs, and nothing besides."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("module_utils", "api", "library"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    table = (copy / TABLE).read_text()
    made_up = '    QUARANTINE = "quarantine", "inspector", False, Capability.LOG\n'
    (copy / TABLE).write_text(table.replace("\n    def can(", f"{made_up}\n    def can("))
    for file in (copy / "api/web/locales").glob("*.json"):
        words = json.loads(file.read_text())
        words |= {"mode.quarantine": "Quarantine", "mode.quarantine.hint": "Everything is logged."}
        file.write_text(json.dumps(words))
    return copy


def _run(checkout: Path, script: str) -> tuple[int, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=checkout,
        env={"PYTHONPATH": f"{checkout / 'module_utils'}:{checkout}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_schemas_and_pages_know_a_mode_that_is_only_in_the_table(checkout: Path) -> None:
    modes = [*ProxyMode, "quarantine"]
    code, known = _run(checkout, ASK)
    assert code == 0
    assert known["asked"] == known["accepted"] == "quarantine"
    assert known["request"] == known["answer"] == modes
    assert known["form"][-1] == ["quarantine", "Quarantine"]
    assert [value for value, _ in known["form"]] == modes
    assert known["without_proxies"] == ["none"]
    assert known["row"] == ["log"]


def test_what_the_modes_can_do() -> None:
    none, logging, security = (ProxyMode(name) for name in ("none", "logging", "security"))
    assert [(mode.proxy, mode.intercepts, set(mode.capabilities)) for mode in (none, logging, security)] == [
        (None, False, set()),
        ("recorder", True, {"record"}),
        ("squid", False, {"log", "whitelist"}),
    ]
    assert DEFAULT_MODE is none
    assert none not in PROXIED_MODES
    assert {logging, security} <= {*PROXIED_MODES}
    assert logging in modes_that_can(Capability.RECORD)
    assert security not in modes_that_can(Capability.RECORD)
    assert security.proxy_folder(Path("/s")) == Path("/s/squid")
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


def test_the_inventory_has_what_each_mode_of_the_table_needs() -> None:
    inventory = yaml.safe_load((ROOT / "inventory/group_vars/all/platform.yml").read_text())["atelier_egress_modes"]
    assert [(entry["mode"], entry.get("proxy")) for entry in inventory] == [
        (str(mode), mode.proxy) for mode in ProxyMode
    ]
    for entry in inventory:
        mode = ProxyMode(entry["mode"])
        # The firewall closes a network by its proxy's port: without one, seats behind a proxy could pass it by.
        assert ("proxy_port" in entry["network"]) is (mode.proxy is not None), mode
        if mode.proxy:
            assert (ROOT / "roles" / mode.proxy / "tasks/main.yml").exists()
            assert mode.proxy in entry["folders"]  # else a purge leaves it
        if mode.intercepts:
            assert f"{mode.proxy}/ca.pem" in entry["files"]


def test_playbooks_and_networks_name_no_mode_or_proxy() -> None:
    named = re.compile(r"\b(?:recorder|squid)\b|atelier_(?:network_)?(?:logging|security|recorder|squid)_")
    files = [ROOT / "playbooks/site.yml", *(ROOT / "playbooks/tasks").glob("*.yml")]
    files.remove(ROOT / "playbooks/tasks/settings.yml")  # names settings that there are no more
    files += [
        file
        for folder in ("defaults", "tasks", "templates", "meta")
        for file in (ROOT / "roles/network" / folder).iterdir()
    ]
    assert {file.name: named.findall(file.read_text()) for file in files if named.search(file.read_text())} == {}


def test_every_mode_has_words() -> None:
    texts = words("en").texts  # of the other languages test_pages.py knows that they have the same
    assert {key for mode in ProxyMode for key in (f"mode.{mode}", f"mode.{mode}.hint")} <= texts.keys()
