"""Repositories through the API, on a real git service: the embedded one, as a process of this test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from atelier.ansible_module import parse_site
from atelier.git.client import open_forge

from tests.api.git_service import GIT, Service
from tests.api.running import Api, is_error
from tests.waiting import eventually

PATH = "/api/git/repositories"
KEYS = {
    "name": str,
    "fullName": str,
    "description": str,
    "url": str,
    "cloneUrl": str,
    "private": bool,
    "createdAt": str,
}


def commit(folder: Path, branch: str) -> None:
    """Something on a branch of a bare repository."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "safe.directory=*"]
        return subprocess.run(
            ["git", *who, *words], cwd=folder, capture_output=True, check=True, text=True
        ).stdout.strip()

    tree = git("hash-object", "-t", "tree", "-w", "/dev/null")
    git("update-ref", f"refs/heads/{branch}", git("commit-tree", tree, "-m", "Start"))


def has_keys(repository: dict[str, Any]) -> None:
    assert {key: type(repository.get(key)) for key in KEYS} == KEYS
    assert repository["createdAt"].endswith("Z") and len(repository["createdAt"]) == 24


def test_what_is_made_is_listed(service: tuple[Api, Service]) -> None:
    api, _ = service
    assert api.get(PATH).json() == {"success": True, "repositories": []}
    config = api.get("/api/config").json()["config"]
    assert config["gitServer"] == {
        "enabled": True,
        "url": "http://localhost/git/",
        "version": "Atelier git service 1.0",
    }

    # What a template engine or a shell might take for its own comes back as it was.
    description = "My {{ 7 * 7 }} new $(id) project: {% raw %} ü 🙂"
    made = api.post(PATH, {"name": "new-project", "description": description, "private": False})
    assert made.status_code == 201, made.text
    repository = made.json()["repository"]
    has_keys(repository)
    assert (repository["fullName"], repository["description"]) == ("developer/new-project", description)
    assert repository["url"] == "http://localhost/git/developer/new-project"
    assert repository["cloneUrl"] == "http://localhost/git/developer/new-project.git"
    is_error(api.post(PATH, {"name": "New-Project"}), 409, "REPOSITORY_EXISTS", "name")

    assert [found.name for found in open_forge(parse_site(api.instance.site(git=GIT))).repositories()] == [
        "new-project"
    ]
    (listed,) = api.get(PATH).json()["repositories"]
    has_keys(listed)
    assert listed["branches"] == []


def test_one_that_is_damaged_keeps_the_others_from_nobody(service: tuple[Api, Service]) -> None:
    api, running = service
    assert api.post(PATH, {"name": "whole"}).status_code == 201
    known = set((running.data / "repositories").iterdir())
    assert api.post(PATH, {"name": "damaged"}).status_code == 201
    (folder,) = set((running.data / "repositories").iterdir()) - known
    commit(folder, "main")
    open_forge(parse_site(api.instance.site(git=GIT))).ensure_branch("damaged", "clone/a")
    by_name = {found["name"]: found for found in api.get(PATH).json()["repositories"]}
    assert (by_name["damaged"]["branches"], by_name["damaged"]["problem"]) == (["clone/a", "main"], None)
    (folder / "HEAD").unlink()
    listed = api.get(PATH)
    assert listed.status_code == 200, listed.text
    by_name = {found["name"]: found for found in listed.json()["repositories"]}
    assert (by_name["damaged"]["branches"], by_name["whole"]["problem"]) == ([], None)
    assert "git can't work with this repository" in by_name["damaged"]["problem"]
    assert str(running.data) not in by_name["damaged"]["problem"]


def test_bad_orders_are_refused_by_their_fields(service: tuple[Api, Service]) -> None:
    api, _ = service
    for body, fields in (
        ({"name": "a b"}, ("name",)),
        ({"name": "x.git"}, ("name",)),
        ({"name": "x" * 101}, ("name",)),
        ({"name": 7}, ("name",)),
        ({}, ("name",)),
        ({"name": "fine", "private": "yes"}, ("private",)),
        ({"name": "fine", "description": "x" * 2049}, ("description",)),
        ({"name": None, "private": 1}, ("name", "private")),
    ):
        is_error(api.post(PATH, body), 400, "VALIDATION_ERROR", *fields)
    assert api.get(PATH).json()["repositories"] == []


def test_a_git_server_that_is_away_and_comes_back(service: tuple[Api, Service]) -> None:
    api, running = service
    assert api.post(PATH, {"name": "before"}).status_code == 201
    running.stop()
    is_error(api.get(PATH), 503, "SERVICE_UNAVAILABLE")
    told = is_error(api.post(PATH, {"name": "later"}), 503, "SERVICE_UNAVAILABLE")
    # Not Docker, and not after several tries.
    assert told["codes"]["error"]["id"] == "git.silent"
    assert api.get("/api/projects/").status_code == 200
    running.start()
    assert eventually(lambda: api.get(PATH).status_code == 200, "the git service answers")
    secrets = json.loads((api.instance.state / "git" / "credentials.json").read_text())
    seen = api.read_log() + api.get("/api/jobs").text + api.get("/api/audit").text
    assert secrets["token"] not in seen and secrets["password"] not in seen
