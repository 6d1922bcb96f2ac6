"""The output of commands on the machines of tests/cluster, of which a busy Docker loses some."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cluster import machines
from tests.cluster.machines import Machine


class Container:
    """Runs commands on this machine, and loses the output of the first ones."""

    def __init__(self, lost: int) -> None:
        self.lost = lost

    def exec_run(self, command: list[str]) -> tuple[int, bytes]:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.lost -= 1
        return done.returncode, done.stdout[:5] if self.lost >= 0 else done.stdout


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "_FOLDER", str(tmp_path))


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_an_output_that_docker_loses_is_read_again(lost: int) -> None:
    def machine() -> Machine:
        return Machine("alpha", "", cast(Any, Container(lost)))

    assert machine().run("printf", "%s\n", "one two", "$three") == "one two\n$three"
    assert machine().run("true") == ""
    with pytest.raises(AssertionError, match="on alpha: it failed"):
        machine().run("sh", "-c", "echo it failed >&2; exit 3")


def test_an_output_that_stays_lost_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="on alpha: one"):
        Machine("alpha", "", cast(Any, Container(1000))).run("echo", "one two")
