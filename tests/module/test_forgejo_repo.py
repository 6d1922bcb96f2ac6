"""The module forgejo_repo, by real Ansible at the embedded git service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atelier.git.http import read_credentials

from tests.module.git_client import git
from tests.module.git_container import TEACHER, Server
from tests.module.installation import Installation


def run_tasks(site: Installation, *tasks: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The results of tasks of the module in one run, and what the operator saw."""
    play = [
        {
            "name": str(number),
            "check_mode": task.pop("check", False),
            "forgejo_repo": {"site": "{{ atelier_site }}", "name": "course", **task},
        }
        for number, task in enumerate(tasks)
    ]
    path = site.folder / "tasks.json"
    path.write_text(json.dumps([{"hosts": "localhost", "tasks": play}]))
    run = site.play(path, "--diff").succeeded()
    return [entry["result"] for entry in run.results], run.output


def test_the_module(server: Server, work: Path) -> None:
    site = server.installation
    server.forge.delete_repository("course")
    (foreseen, made, again, changed), shown = run_tasks(
        site,
        {"description": "One", "check": True},
        {"description": "One"},
        {"description": "One"},
        {"description": "Two", "private": True},
    )
    assert [foreseen["changed"], made["changed"], again["changed"], changed["changed"]] == [True, True, False, True]
    assert foreseen["repository"] is None and foreseen["diff"] == made["diff"]
    assert made["repository"]["clone_url"] == "http://localhost/git/developer/course.git"
    assert (changed["diff"]["before"]["description"], changed["repository"]["private"]) == ("One", True)

    teacher = server.forge.grant_seat("course", TEACHER, "main")
    git(work, "push", "--quiet", server.url(teacher, "course"), "main")
    (branched, same, default, second, gone, still_gone), more = run_tasks(
        site,
        {"branches": ["group-a", "clone/x"]},
        {"branches": ["group-a"]},
        {"default_branch": "group-a"},
        {"if_taken": "suffix"},
        {"state": "absent"},
        {"state": "absent"},
    )
    assert branched["changed"] and branched["branches"] == ["clone/x", "group-a", "main"]
    assert not same["changed"]
    assert default["repository"]["default_branch"] == "group-a"
    assert second["repository"]["name"] == "course-2"
    assert gone["changed"] and not still_gone["changed"]
    assert server.forge.delete_repository("course-2")

    # What an operator sees and what is kept holds no secret.
    secrets = [read_credentials(server.git).token, read_credentials(server.git).password, teacher.token]
    logs = server.container.logs().decode()
    for text in (shown, more, logs, json.dumps(server.container.attrs)):
        assert not [secret for secret in secrets if secret in text]
    assert server.git.credentials.stat().st_mode & 0o777 == 0o600


def test_what_the_module_refuses(server: Server, work: Path) -> None:
    orders: list[tuple[dict[str, Any], str, str]] = [
        ({"name": "a b"}, "VALIDATION_ERROR", "name"),
        ({"name": "x.git"}, "VALIDATION_ERROR", "name"),
        ({"name": "app", "description": "x" * 2049}, "VALIDATION_ERROR", "description"),
        ({"name": "app", "branches": ["ok", "a..b"]}, "VALIDATION_ERROR", "branches[1]"),
        ({"name": "app", "default_branch": "nowhere"}, "VALIDATION_ERROR", "default_branch"),
        ({"name": "app", "branches": ["main/x"]}, "GIT_ERROR", "branch"),
        ({"name": "brand-new", "branches": ["x"]}, "VALIDATION_ERROR", "branches"),
        ({"name": "app", "if_taken": "fail"}, "REPOSITORY_EXISTS", "name"),
        ({"name": "app", "site": "{{ atelier_site | combine({'git': none}) }}"}, "SERVICE_UNAVAILABLE", "site.git"),
    ]
    results = server.installation.failures("forgejo_repo", [order for order, _, _ in orders])
    for (order, code, field), result in zip(orders, results, strict=True):
        assert (result["error_code"], result["details"].get("field", "")) == (code, field), (order, result["msg"])
        assert result["details"]["remedy"] in result["msg"]
