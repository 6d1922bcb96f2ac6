"""Workspaces whose files come from a repository, asked for over HTTP: the token is in no record of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.api.running import Api, is_error
from tests.module.git_host import TOKEN, USER, git_host, make_repository

BRIDGE_ADDRESS = "172.23.0.1"


@pytest.fixture(scope="module")
def host(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("repositories")
    make_repository(folder, "course", {"README.md": "the course"})
    with git_host(folder, BRIDGE_ADDRESS) as (url, _):
        yield url


def test_a_workspace_from_a_repository(api: Api, host: str) -> None:
    order = {"projectType": "git-clone", "gitUrl": f"{host}/closed/course.git"}
    made = api.create("from-git", **order, gitUsername=USER, gitToken=TOKEN, createGitRepo=True)
    assert (made["type"], made["projectType"], made["gitUrl"], made["status"]) == (
        *("git-clone", "git-clone", order["gitUrl"]),
        "running",
    )
    assert api.instance.run_inside(made, "cat /workspace/README.md") == "the course"
    recorded = [api.instance.query(f"SELECT * FROM {table}") for table in ("workspaces", "jobs", "job_events")]  # noqa: S608
    assert TOKEN not in json.dumps(recorded) + api.read_log() + json.dumps(api.audit())
    assert api.delete(f"/api/projects/{made['id']}").status_code == 200


def test_a_repository_that_cannot_be_cloned(api: Api, host: str) -> None:
    """The workspace is in error with git's words and stays; another try with what it lacks is another workspace."""
    body = {"projectName": "from-git", "projectType": "git-clone", "gitUrl": f"{host}/closed/course.git"}
    refused = is_error(api.post("/api/projects/create", body), 500, "GIT_CLONE_FAILED", "gitUrl", "workspace")
    project = api.project(refused["details"]["workspace"])
    assert (project["status"], project["container"]["status"]) == ("error", "running")
    assert "could not be cloned" in project["error"]
    assert api.delete(f"/api/projects/{project['id']}").status_code == 200


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"projectType": "git-clone"}, "gitUrl"),
        ({"projectType": "git-clone", "gitUrl": "file:///etc"}, "gitUrl"),
        ({"projectType": "git-clone", "gitUrl": "http://[::1]/a"}, "gitUrl"),
        ({"projectType": "git-clone", "gitUrl": f"https://{USER}:hush-hush@x.org/a"}, "gitUrl"),
        ({"projectType": "empty", "gitUrl": "https://x.org/a"}, "gitUrl"),
        ({"projectType": "empty", "gitToken": "hush-hush"}, "gitToken"),
        ({"projectType": "git-clone", "gitUrl": "https://x.org/a", "gitUsername": "ann"}, "gitToken"),
        ({"projectType": "git-clone", "gitUrl": "https://x.org/a", "gitToken": "hush-\nhush"}, "gitToken"),
    ],
)
def test_bad_orders_are_refused_at_once(api: Api, order: dict[str, str], field: str) -> None:
    answer = api.post("/api/projects/create", {"projectName": "from-git", **order})
    is_error(answer, 400, "VALIDATION_ERROR", field)
    assert "hush" not in answer.text
