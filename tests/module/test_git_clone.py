"""Workspaces whose files come from a repository on the network: real git in real seats, and a server that it asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from atelier.common.messages import restored

from tests.module.git_host import TOKEN, USER, git_host, make_repository
from tests.module.installation import Installation

BRIDGE_ADDRESS = "172.26.0.1"
BASIC = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
SECRETS = [TOKEN, BASIC, "canary-p%40ss%2Fw%3Ard"]


@pytest.fixture(scope="module")
def host(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    folder = tmp_path_factory.mktemp("repositories")
    make_repository(folder, "course", {"README.md": "the course", "src/main.py": "print(1)", ".env": "x"})
    with git_host(folder, BRIDGE_ADDRESS) as served:
        yield served


def test_a_closed_repository_becomes_a_workspace_and_its_clones(
    shared: Installation, host: tuple[str, list[str]]
) -> None:
    """The files are there, the token that opened them is nowhere; a clone has the files without asking for them."""
    url, seen = host
    address = f"{url}/closed/course.git"
    run = shared.play(
        "workspace_create",
        "-vvv",
        workspace_name="course",
        workspace_git_url=address,
        workspace_git_username=USER,
        workspace_git_token=TOKEN,
    ).succeeded()
    made = run.result["workspace"]
    assert (made["status"], made["git_url"], shared.row("course")["git_pending"]) == ("running", address, None)
    script = (
        "cd /workspace && ls -A && git status --porcelain && git log --format=%s && git remote get-url origin; id -un"
    )
    expected = [".env", ".git", "README.md", "src", "Start", address, "coder"]
    assert shared.run_inside(made, script).split() == expected
    assert shared.run_inside(made, "find /workspace ! -user coder; ls -A ~/.cache /etc/code-server").split() == [
        "/etc/code-server:",
        "config.yaml",
        "/home/coder/.cache:",
    ]

    asked = len(seen)
    (seat,) = shared.clone(source="course", count=1).succeeded().seats
    assert shared.run_inside(seat, script).split() == expected
    assert len(seen) == asked

    shown = [run.output, json.dumps(run.results), json.dumps(shared.container(made).attrs)]
    shown += [path.read_text(errors="replace") for path in shared.state.rglob("*") if path.is_file()]
    assert [secret for secret in SECRETS for text in shown if secret in text] == []
    # Wherever a seat can write: a clone has the snapshot's files.
    for workspace in (made, seat):
        patterns = [part for secret in SECRETS for part in ("-e", secret)]
        places = ["/dev/shm", "/etc", "/home", "/run", "/tmp", "/var", "/workspace"]  # noqa: S108 - in the container
        for user in ("root", "coder"):
            found = shared.container(workspace).exec_run(["grep", "-rlsF", *patterns, *places], user=user)
            assert found.output == b""

    again = shared.play(
        "workspace_create", workspace_name="course", workspace_git_url=address, workspace_git_token=TOKEN
    ).succeeded()
    assert not again.changed
    shared.play("workspace_create", workspace_name="course", workspace_git_url=f"{url}/open/x.git").failed(
        "VALIDATION_ERROR", "git_url"
    )
    for name in ("course 1", "course"):
        shared.play("workspace_delete", workspace_name=name).succeeded()


def test_a_workspace_from_a_repository_begins_again_from_there(
    shared: Installation, host: tuple[str, list[str]]
) -> None:
    """If the repository can't be fetched, the workspace is unchanged."""
    url, _ = host
    access = {"workspace_git_username": USER, "workspace_git_token": TOKEN}
    for area, more in (("open", {}), ("closed", access)):
        play = shared.play(
            "workspace_create", workspace_name=area, workspace_git_url=f"{url}/{area}/course.git", **more
        )
        made = play.succeeded().result["workspace"]
        shared.run_inside(made, "rm README.md; echo mine > mine.txt")
        again = shared.play("workspace_reset", workspace_name=area)
        if area == "open":
            assert again.succeeded().result["origin"] == "repository"
            assert shared.run_inside(made, "ls").split() == ["README.md", "src"]
        else:
            again.failed("GIT_CLONE_FAILED", "git_url")
            assert shared.run_inside(made, "ls").split() == ["mine.txt", "src"]
        row = shared.row(area)
        assert (row["status"], row["error"], row["git_pending"]) == ("running", None, None)
        assert not shared.play("workspace_start", workspace_name=area).succeeded().changed
        shared.play("workspace_delete", workspace_name=area).succeeded()


def test_a_failing_clone_says_why_and_is_tried_again(shared: Installation, host: tuple[str, list[str]]) -> None:
    """No access, no such repository, no git server: the workspace is in error with git's words, and is kept."""
    url, _ = host
    task = {"name": "course", "git_url": f"{url}/echo/course.git", "git_username": USER, "git_token": TOKEN}
    said = shared.task("workspace", **task).failed("GIT_CLONE_FAILED", "git_url")
    row = shared.row("course")
    assert "403" in row["error"]
    assert str(restored(row["error"])) in said["msg"]
    assert [secret for secret in SECRETS if secret in json.dumps(said) + json.dumps(row)] == []
    assert (row["status"], shared.container(row).status) == ("error", "running")
    assert shared.run_inside(row, "ls -A /etc/code-server; cat /workspace/README.md").startswith("config.yaml\n")
    shared.play("workspace_delete", workspace_name="course").succeeded()

    # Without a password nobody is asked for one.
    closed = f"{url}/closed/course.git"
    shared.task("workspace", name="course", git_url=closed).failed("GIT_CLONE_FAILED", "git_url")
    shared.play("workspace_start", workspace_name="course").failed("GIT_CLONE_FAILED", "git_url")
    # What somebody wrote meanwhile is not thrown away.
    row = shared.row("course")
    shared.run_inside(row, "echo mine > /workspace/mine.txt")
    order = {"name": "course", "git_url": closed, "git_username": USER, "git_token": TOKEN}
    assert "would be lost" in shared.task("workspace", **order).failed("GIT_CLONE_FAILED", "git_url")["msg"]
    assert shared.run_inside(row, "cat /workspace/mine.txt; rm /workspace/mine.txt") == "mine"
    made = shared.task("workspace", **order).succeeded().result["workspace"]
    assert (made["status"], made["id"]) == ("running", row["id"])
    assert shared.run_inside(made, "cat /workspace/README.md") == "the course"
    shared.play("workspace_delete", workspace_name="course").succeeded()


@pytest.mark.parametrize(
    ("area", "words"), [("hangs", "longer than 1 seconds"), ("html", "not a git server"), ("open/no", "")]
)
def test_servers_that_are_none(shared: Installation, host: tuple[str, list[str]], area: str, words: str) -> None:
    url, _ = host
    order = {"name": "course", "git_url": f"{url}/{area}/course.git", "git_timeout": 1 if area == "hangs" else 60}
    said = shared.task("workspace", **order).failed("GIT_CLONE_FAILED", "git_url")
    assert words in said["msg"]
    shared.play("workspace_delete", workspace_name="course").succeeded()


def test_addresses_are_refused_before_anything_starts(shared: Installation) -> None:
    orders = [
        {"name": "course", "git_url": "ext::sh -c id"},
        {"name": "course", "git_url": "http://169.254.169.254/a"},
        {"name": "course", "git_url": f"https://ann:{TOKEN}@x.org/a"},
    ]
    for result in shared.failures("workspace", orders):
        assert (result["error_code"], result["details"]["field"]) == ("VALIDATION_ERROR", "git_url")
        assert TOKEN not in result["msg"] + json.dumps(result["details"])
    assert shared.rows() == []
