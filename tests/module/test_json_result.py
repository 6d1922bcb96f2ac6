"""`./atelier play --json`: the output of a playbook for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.installed import ROOT, front_door
from tests.module.installation import Installation
from tests.waiting import eventually


def play(site: Installation, name: str, **variables: Any) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Runs a playbook with `--json`; returns the process, and its standard output as an object."""
    file = site.folder / "variables.json"
    file.write_text(json.dumps({**site.variables, **variables}))
    done = front_door("play", name, "--json", "-e", f"@{file}")
    return done, json.loads(done.stdout)


def test_standard_output_is_the_result(site: Installation, small: str) -> None:
    done, told = play(site, "workspace_create", workspace_name="Base", workspace_template=small)
    assert done.returncode == 0, done.stderr
    assert "Create the workspace" in done.stderr
    assert (told["successful"], told["error"]) == (True, None)
    assert told["result"]["workspace"]["id"] == site.row("Base")["id"]

    done, told = play(site, "workspace_stop", workspace_name="nobody")
    assert done.returncode == 2
    assert (told["successful"], told["error"]["code"]) == (False, "PROJECT_NOT_FOUND")


def test_a_playbook_that_does_not_start_says_so(site: Installation) -> None:
    done = front_door("play", "workspace_stop", "--json", "-e", f"@{site.folder / 'nothing.json'}")
    assert done.returncode == 1
    assert "nothing.json" in done.stderr
    assert json.loads(done.stdout)["successful"] is False


def test_variables_that_are_no_yaml_have_their_exit_code(tmp_path: Path) -> None:
    (tmp_path / "course.yml").write_text("workshop_seats: [")
    done = front_door("play", "workspace_stop", "--json", "-e", f"@{tmp_path / 'course.yml'}")
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["successful"] is False


def test_ctrl_c_has_its_exit_code(tmp_path: Path) -> None:
    # It is pressed while an inventory that is a program runs.
    inventory = tmp_path / "inventory"
    inventory.write_text(f"#!/bin/sh\n: >{tmp_path / 'asked'}\nsleep 100\n")
    inventory.chmod(0o700)
    # What a shell starts in the background, as `./atelier test` does, ignores it otherwise.
    pressed = ["env", "--default-signal=INT"]
    command = [*pressed, ROOT / "atelier", "play", "workspace_stop", "--json", "-i", inventory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        eventually((tmp_path / "asked").exists, "it runs")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 99
    assert json.loads(output)["successful"] is False
