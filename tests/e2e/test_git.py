"""A workshop with git: seats commit and push from their browsers' terminals, and at its end all their work is kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.installed import Installation, front_door
from tests.waiting import eventually

from .conftest import PORT, in_terminal, visit

BASE, SEATS = "git-course", 3
NAMES = [f"{BASE} {number}" for number in range(1, SEATS + 1)]


@pytest.fixture(scope="module")
def api(installation: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}/api", timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def seats(api: httpx.Client) -> list[dict[str, Any]]:
    """A workspace with a repository, cloned: all running, each on its branch."""
    answer = api.post("/projects/create", json={"projectName": BASE, "projectType": "empty", "createGitRepo": True})
    assert answer.status_code == 201, answer.text
    base = answer.json()["project"]
    assert (base["hasGitRepo"], base["gitRepository"]["branch"], base["warnings"]) == (True, "main", [])
    assert base["gitRepoUrl"] == f"http://localhost:{PORT}/git/developer/{BASE}"
    begun = api.post(f"/projects/{base['id']}/clone", json={"count": SEATS}).json()

    def ended() -> Any:
        job = api.get(f"/jobs/{begun['jobId']}").json()["job"]
        return job if job["state"] not in ("pending", "running") else None

    job = eventually(ended, "the end of the clone")
    assert (job["state"], [seat["warnings"] for seat in job["seats"]]) == ("successful", [[]] * SEATS), job
    return [api.get(f"/projects/{clone['projectId']}").json()["project"] for clone in begun["clones"]]


def test_every_seat_pushes_from_its_terminal(
    api: httpx.Client, installation: Installation, seats: list[dict[str, Any]], browser: Browser
) -> None:
    for number, seat in enumerate(seats, 1):
        assert seat["gitRepository"]["branch"] == f"clone/{BASE}-{number}"
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        visit(page, seat["workspaceUrl"], page.get_by_role("treeitem", name="README.md"))
        # What git says becomes a file's name, which the explorer shows: pushed, with nobody asked for a password.
        command = "echo day >> README.md; git commit -qam Day; git push -q && touch pushed-$((6 * 7)).txt\n"
        in_terminal(page, command, page.get_by_role("treeitem", name="pushed-42.txt"))
        page.context.close()
    (listed,) = (entry for entry in api.get("/git/repositories").json()["repositories"] if entry["name"] == BASE)
    branches = [seat["gitRepository"]["branch"] for seat in seats]
    assert sorted(listed["branches"]) == sorted(["main", *branches])
    on_disk = _references(installation)
    assert set(on_disk) == {"main", *branches}
    assert len(set(on_disk.values())) == SEATS + 1


def test_nothing_is_lost_at_the_end(
    api: httpx.Client, installation: Installation, seats: list[dict[str, Any]], tmp_path: Path
) -> None:
    def play(playbook: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        order = {"workshop_base": BASE, "workshop_archive": str(tmp_path / "archive"), **variables}
        # After the installation's own, which name its workshop.
        return front_door("play", playbook, "-e", f"@{installation.variables}", "-e", json.dumps(order))

    refused = play("workshop_teardown", confirm=True)
    assert refused.returncode != 0
    assert "Run workshop_collect" in refused.stdout
    stopped = seats[-1]
    assert api.post(f"/projects/{stopped['id']}/stop").status_code == 200
    collected = play("workshop_collect")
    assert collected.returncode == 0, collected.stdout[-3000:]
    torn = play("workshop_teardown", confirm=True, workshop_csv=str(tmp_path / "none"))
    assert torn.returncode == 0, torn.stdout[-3000:]
    assert not [project for project in api.get("/projects").json()["projects"] if project["name"].startswith(BASE)]

    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    entries = {entry["name"]: entry for entry in manifest["seats"]}
    assert sorted(entries) == sorted([BASE, *NAMES])
    references = _references(installation)
    for name, entry in entries.items():
        data = (tmp_path / "archive" / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert entry["pushed"] is (name != stopped["name"]), entry
        # What was new in the seat, the file of its terminal, went along.
        assert not entry["pushed"] or references[entry["branch"]] == entry["commit"]
    assert BASE in [entry["name"] for entry in api.get("/git/repositories").json()["repositories"]]


def _references(installation: Installation) -> dict[str, str]:
    """Commits by branch in the bare repository of that name, read from the disk as root."""
    found: dict[str, str] = {}
    for path in (installation.state_dir / "git" / "data" / "repositories").glob("*"):
        command = [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(path),
            "for-each-ref",
            "--format=%(refname:lstrip=2) %(objectname)",
        ]
        listed = subprocess.run([*command, "refs/heads"], capture_output=True, text=True, check=True).stdout
        branches = dict(line.split() for line in listed.splitlines())
        found |= branches if any(name.startswith(f"clone/{BASE}") for name in branches) else {}
    return found
