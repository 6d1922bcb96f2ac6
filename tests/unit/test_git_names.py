"""Names of repositories and branches."""

from __future__ import annotations

import subprocess
from itertools import islice

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.git.names import (
    LONGEST_NAME,
    candidates,
    check_branch,
    check_owner,
    check_repository_name,
    repository_name,
    seat_branch,
)
from support import refused

REPOSITORIES = ["a", "my-flask-app", "a.b", "A_1", "x" * 100, "gitty", "-a", "a.git.b"]
NO_REPOSITORIES = [
    "",
    ".",
    "..",
    "-",
    "a..b",
    "a b",
    "a/b",
    "../a",
    "ä",
    "x" * 101,
    "a.git",
    "A.GIT",
    "a.wiki",
    "a.rss",
]
BRANCHES = ["main", "clone/a", "clone/base-1", "a.b", "feature/x_y", "@a"]
NO_BRANCHES = ["", "@", "a..b", "a b", "/a", "a/", "a//b", "a.", ".a", "a/.b", "a.lock", "a.lock/b", "a~1", "a^", "a:b"]
NO_BRANCHES += ["a?", "a*", "a[b", "a\\b", "a@{1}", "a\x7f", "a\nb"]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_repository_name(name: str) -> None:
    assert check_repository_name(name) == name


@pytest.mark.parametrize("name", NO_REPOSITORIES)
def test_no_repository_name(name: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_repository_name(name)
    refused(error, Code.VALIDATION_ERROR, "name")


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_branch(branch: str) -> None:
    assert check_branch(branch) == branch


@pytest.mark.parametrize("branch", [*NO_BRANCHES, "-a", "HEAD", "x" * 101])
def test_no_branch(branch: str) -> None:
    with pytest.raises(AtelierError) as error:
        check_branch(branch)
    refused(error, Code.VALIDATION_ERROR, "branch")


@pytest.mark.parametrize("name", ["developer", "Ada.Lovelace", "a", "atelier", "x" * 40])
def test_an_owner(name: str) -> None:
    assert check_owner(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a--b", "a b", "a/b", "x" * 41, "Admin", "api", "atelier-service", "seat-0123456789ab"]
)
def test_no_owner(name: str) -> None:
    with pytest.raises(AtelierError) as caught:
        check_owner(name)
    assert (caught.value.code, caught.value.details["field"]) == (Code.VALIDATION_ERROR, "atelier_git_admin_user")


def test_git_thinks_the_same_of_branches() -> None:
    for branch in BRANCHES + [name for name in NO_BRANCHES if name and name != "@"]:
        words = ["git", "check-ref-format", f"refs/heads/{branch}"]
        assert (subprocess.run(words, check=False).returncode == 0) is (branch in BRANCHES), branch


@pytest.mark.parametrize(
    ("title", "branch", "repository"),
    [
        ("Base 1", "clone/base-1", "Base-1"),
        ("Workshop_2 - 3", "clone/workshop_2---3", "Workshop_2---3"),
        ("a.b", "clone/a-b", "a.b"),
        ("..", "clone/seat", "repository"),
        ("x.git", "clone/x-git", "x.git-repository"),
        ("ä" * 3, "clone/seat", "repository"),
        ("x" * 200, "clone/" + "x" * 94, "x" * 100),
    ],
)
def test_a_workspace_s_name_becomes_a_branch_and_a_repository(title: str, branch: str, repository: str) -> None:
    assert check_branch(seat_branch(title)) == branch
    assert check_repository_name(repository_name(title)) == repository


def test_the_names_that_are_tried_are_short_enough() -> None:
    assert list(islice(candidates("App"), 3)) == ["App", "App-2", "App-3"]
    assert list(islice(candidates("x" * LONGEST_NAME), 2)) == ["x" * LONGEST_NAME, "x" * (LONGEST_NAME - 2) + "-2"]
