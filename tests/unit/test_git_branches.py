"""Branches of the embedded git service: all pushed ones are listed, and refusals have a reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from atelier_git.repositories import git
from git_app import APP, Server, refused

BRANCHES = f"{APP}/branches"


def folder(app: Server) -> Path:
    (found,) = app.settings.repositories.iterdir()
    return found


def push(app: Server, branch: str, subject: str = "Day", author: str = "Ann") -> None:
    """Puts a commit on the branch, as a push would."""

    def run(*words: str, text: bytes = b"") -> str:
        named = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": "a@b.c"}
        named |= {"GIT_COMMITTER_NAME": author, "GIT_COMMITTER_EMAIL": "a@b.c"}
        command = ["git", "--git-dir", str(folder(app)), *words]
        done = subprocess.run(command, input=text, env=git.environment(**named), capture_output=True, check=True)
        return done.stdout.decode().strip()

    tree = run("mktree")
    run("update-ref", f"refs/heads/{branch}", run("commit-tree", tree, text=subject.encode()))


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "a\rb"])
def test_no_subject_and_no_name_breaks_the_list(app: Server, odd: str) -> None:
    """One seat's commit must not keep all others from their branches."""
    push(app, "main")
    push(app, "odd", f"One{odd}Two", f"Ann{odd}Lee")
    shown = app("GET", BRANCHES).json()
    assert [branch["name"] for branch in shown] == ["main", "odd"]
    assert odd not in str(shown)
    assert app("GET", f"{BRANCHES}/odd").json()["commit"] == shown[1]["commit"]
    assert app("POST", BRANCHES, {"new_branch_name": "next"}).status_code == 201


def test_what_is_listed_is_answered_by_its_name_too(app: Server) -> None:
    names = ["x" * 150, "clone/a/b", "ä", "-x", "HEAD"]
    for name in names:
        push(app, name)
    assert {branch["name"] for branch in app("GET", BRANCHES).json()} == set(names)
    for name in names:
        assert app("GET", f"{BRANCHES}/{name}").json()["name"] == name
    for name in ("*", "clone/*", "clone/a", "a..b", "x" * 151):
        refused(app("GET", f"{BRANCHES}/{name}"), 404)
    refused(app("POST", BRANCHES, {"new_branch_name": "x" * 101, "old_branch_name": "ä"}), 422)


def test_a_branch_that_can_not_be(app: Server) -> None:
    push(app, "main")
    push(app, "group/a")
    refused(app("POST", BRANCHES, {"new_branch_name": "main"}), 409, "The branch already exists")
    for name, other in (("group", "group/a"), ("group/a/b", "group/a"), ("main/x/y", "main")):
        refused(app("POST", BRANCHES, {"new_branch_name": name}), 409, f"The branch {other} already exists")
    # That there is one would be untrue of any other failure.
    (folder(app) / "refs/heads/held.lock").touch()
    refused(app("POST", BRANCHES, {"new_branch_name": "held"}), 500, "git can't work with this repository")
