"""A whole installation made by the front door, as a new user makes it. Shared by the suites that need one."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Seat:
    name: str
    url: str
    password: str
    state: str


@dataclass(frozen=True)
class Installation:
    """The variables that select it, what the first `up` printed, and its seats by the sheet it wrote."""

    variables: Path
    output: str

    @property
    def sheet(self) -> Path:
        return Path(json.loads(self.variables.read_text())["workshop_csv"])

    @property
    def state_dir(self) -> Path:
        return Path(json.loads(self.variables.read_text())["atelier_state_dir"])

    def seats(self) -> list[Seat]:
        with self.sheet.open(newline="") as file:
            return [Seat(**row) for row in csv.DictReader(file)]

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One call of the front door for this installation."""
        return front_door(command, *arguments, "-e", f"@{self.variables}")


def front_door(*arguments: str, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "atelier"), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def variables_file(folder: Path, atelier_instance: str, variables: Mapping[str, Any]) -> Path:
    """Writes the variables with which `up` makes a separate installation that has all its files in the folder."""
    file = folder / "variables.json"
    file.write_text(
        json.dumps(
            {
                "atelier_instance": atelier_instance,
                "atelier_image_prefix": atelier_instance,
                "atelier_state_dir": str(folder / "state"),
                # A service starts slowly beside other suites.
                "atelier_service_container_start_timeout": PATIENCE_SECONDS,
                "workshop_base": "Workshop",
                "workshop_csv": str(folder / "seats.csv"),
                **variables,
            }
        )
    )
    return file


@contextmanager
def installed(
    folder: Path, atelier_instance: str, arguments: Sequence[str] = (), **variables: Any
) -> Iterator[Installation]:
    """A separate installation, created by `up` with the arguments, purged at the end. Its images have separate names,
    so that its purge removes no others."""
    file = variables_file(folder, atelier_instance, variables)
    api = docker.APIClient(version="auto")
    for image in api.images(filters={"reference": "atelier/*"}):
        for tag in image["RepoTags"] or ():
            name, _, version = tag.removeprefix("atelier/").rpartition(":")
            api.tag(tag, f"{atelier_instance}/{name}", version)
    try:
        made = front_door("up", "-e", f"@{file}", *arguments)
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-2000:]
        yield Installation(file, made.stdout)
    finally:
        purge(atelier_instance, file, folder / "state")


def purge(instance: str, file: Path, state: Path) -> None:
    """Purges it; nothing of it is left."""
    removed = front_door("down", "--purge", "--yes", "-e", f"@{file}")
    assert removed.returncode == 0, removed.stdout[-4000:] + removed.stderr[-2000:]
    api = docker.APIClient(version="auto")
    ours = {"label": f"atelier.instance={instance}"}
    assert not api.containers(all=True, filters=ours)
    assert not api.networks(filters=ours)
    assert not api.volumes(filters=ours)["Volumes"]
    assert not api.images(filters={"reference": f"{instance}/*"})
    assert not state.exists(), list(state.rglob("*"))
