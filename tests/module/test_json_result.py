"""`./atelier play --json`: what programs get of a playbook."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.installed import front_door
from tests.module.installation import Installation


def play(site: Installation, name: str, **variables: Any) -> tuple[subprocess.CompletedProcess[str], Any]:
    """What it printed, and standard output as the JSON that it is."""
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
