"""Permissions to push, by the embedded git service's rules and by its hook."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from atelier_git.repositories.policy import (
    Pusher,
    Rule,
    covers,
    hidden_references,
    load,
    may_push,
    refusal,
    visible_branches,
)

HOOK = Path(__file__).parents[2] / "roles/git_service/files/hooks/pre-receive"
SEAT = Pusher(
    "seat-0123456789ab",
    may_write=True,
    rules=(Rule("**", False), Rule("main", False), Rule("clone/a", True), Rule("clone/b", False)),
    tag_rules=(Rule("*", False),),
)
OWNER = Pusher(
    "developer", may_write=True, rules=(Rule("**", True), Rule("clone/a", True)), tag_rules=(Rule("*", True),)
)
ZERO, ONE = "0" * 40, "1" * 40


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("main", "main", True),
        ("main", "mains", False),
        ("**", "clone/a/b", True),
        ("*", "main", True),
        ("*", "clone/a", False),
        ("clone/*", "clone/a", True),
        ("clone/?", "clone/ab", False),
        ("v.*", "vx1", False),
        ("c+", "c+", True),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert covers(pattern, name) is fits


def test_a_seat_pushes_its_own_branch_only() -> None:
    assert may_push(SEAT, "refs/heads/clone/a")
    for other in ("main", "clone/b", "clone/a2", "clone/a/x", "new"):
        assert not may_push(SEAT, f"refs/heads/{other}"), other
    for other in ("refs/tags/v1", "refs/heads/", "refs/notes/x", "HEAD", "clone/a", "refs/for/main"):
        assert not may_push(SEAT, other), other


def test_the_owner_pushes_everything_that_is_a_branch_or_a_tag() -> None:
    assert all(may_push(OWNER, f"refs/{name}") for name in ("heads/main", "heads/a/b", "heads/clone/a", "tags/v1"))
    assert not may_push(OWNER, "refs/config")


def test_without_a_rule_who_may_write_pushes() -> None:
    assert may_push(Pusher("x", may_write=True), "refs/heads/main")
    assert not may_push(Pusher("x", may_write=False), "refs/heads/main")


def test_what_a_seat_is_shown() -> None:
    assert visible_branches(SEAT.rules, "main") == ["main", "clone/a"]
    assert hidden_references(["main", "clone/a"]) == ["refs/", "!refs/heads/main", "!refs/heads/clone/a"]


def run_hook(pusher: Pusher, *references: str) -> subprocess.CompletedProcess[str]:
    lines = "".join(f"{ZERO} {ONE} {reference}\n" for reference in references)
    environment = {"PATH": os.environ["PATH"], "ATELIER_PUSHER": pusher.dump()}
    return subprocess.run([HOOK], input=lines, env=environment, capture_output=True, text=True, check=False)


def test_the_hook_refuses_a_push_as_a_whole() -> None:
    assert load(SEAT.dump()) == SEAT
    assert refusal(SEAT, ["refs/heads/clone/a"]) is None
    both = run_hook(SEAT, "refs/heads/clone/a", "refs/heads/clone/b", "refs/heads/main")
    assert both.returncode == 1
    said = "seat-0123456789ab may not push to clone/b, main. Your branch is clone/a. Nothing of this push was taken."
    assert both.stderr.strip() == said


def test_the_hook_refuses_without_being_told_who_pushes() -> None:
    done = subprocess.run([HOOK], input="", env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)
    assert done.returncode != 0
