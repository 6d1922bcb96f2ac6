"""A repository for a workspace and a branch for each clone: real seats with real git, and the real embedded server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.module.conftest import ENGINE_URL, TEMPLATE, TEST_HALF
from tests.module.git_server import GIT_PORT, OWNER, PORT, forge, impostor, run_git_server, stopped
from tests.module.installation import Installation, Run
from tests.waiting import eventually

SEATS = ("Course 1", "Course 2", "course-2")
# Where a seat has its own credential: in memory, and in the volume of its settings.
HOLDERS = ["/dev/shm/workspace-git-credential", "/etc/code-server/git-credential"]  # noqa: S108 - in the container
# What a seat's user may have done to git, in good faith or not.
MISCHIEF = """
cd /workspace
git remote set-url origin http://192.0.2.1/elsewhere.git
git config --global url.http://192.0.2.1/.insteadOf http://git.internal:
git config --global credential.helper '!touch /tmp/asked; false'
git config --global http.proxy http://192.0.2.1:1
git config http.extraHeader 'Authorization: Basic eDp5'
printf 'machine git.internal login x password y' > ~/.netrc
rm /dev/shm/workspace-git-credential
mkdir -p ~/.local/bin && printf '#!/bin/sh\nexit 1\n' > ~/.local/bin/git && cp ~/.local/bin/git ~/.local/bin/bash
chmod +x ~/.local/bin/*
"""
BRANCHES = ["clone/course-1", "clone/course-2"]


@pytest.fixture(scope="module")
def git_site(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a git server, for all tests of this file."""
    site = Installation(
        "atelier-test",
        tmp_path_factory.mktemp("git"),
        TEST_HALF,
        network,
        ENGINE_URL,
        # Where the platform's images are.
        atelier_image_prefix=TEMPLATE.partition("/")[0],
        atelier_base_port=PORT,
        atelier_git_port=GIT_PORT,
        atelier_enable_git_server=True,
    )
    try:
        run_git_server(site)
        yield site
    finally:
        site.remove()


@pytest.fixture
def tidy(git_site: Installation) -> Iterator[Installation]:
    """The installation; what the test makes in it is gone afterwards, repositories too."""
    yield git_site
    _remove_all(git_site)


@pytest.fixture
def course(tidy: Installation) -> dict[str, Any]:
    return _make_course(tidy)


def _make_course(site: Installation) -> dict[str, Any]:
    """A base with a repository and work that is not committed."""
    made = site.create("Course", git_repo=True)
    assert made["git_problem"] is None
    site.run_inside(made, "cd /workspace && echo exercise > exercise.txt && git add exercise.txt && echo x > loose.txt")
    return made


def _remove_all(site: Installation) -> None:
    site.tasks("workspace", [{"id": row["id"], "state": "absent"} for row in reversed(site.rows())]).succeeded()
    for repository in forge(site).repositories():
        forge(site).delete_repository(repository.name)


def _credential(site: Installation, workspace: Mapping[str, Any]) -> tuple[str, str]:
    lines = site.run_inside(workspace, "cat /dev/shm/workspace-git-credential").splitlines()
    user, token = (line.partition("=")[2] for line in lines)
    return user, token


def _branches(site: Installation) -> dict[str, str]:
    return forge(site).branches("Course")


def _holders(site: Installation, workspace: Mapping[str, Any], secret: str) -> list[str]:
    """Files of a seat that hold it, wherever a seat can write."""
    places = ["/dev/shm", "/etc", "/home", "/run", "/tmp", "/var", "/workspace"]  # noqa: S108 - in the container
    command = ["grep", "-rlsF", "-e", secret, *places]
    # Root in a seat has no more rights than others to what is not its own.
    found = [site.container(workspace).exec_run(command, user=user).output for user in ("root", "coder")]
    return sorted({path for output in found for path in output.decode().split()})


@dataclass(frozen=True)
class Cloned:
    """A base with a repository, and its clones by name."""

    site: Installation
    base: dict[str, Any]
    seats: dict[str, dict[str, Any]]
    run: Run

    def branch(self, name: str) -> str:
        return str(self.seats[name]["repository"]["branch"])


@pytest.fixture(scope="class")
def cloned(git_site: Installation) -> Iterator[Cloned]:
    base = _make_course(git_site)
    run = git_site.play(git_site.write_task("clone", source="Course", names=SEATS), "-vvv").succeeded()
    yield Cloned(git_site, base, {seat["name"]: seat for seat in run.seats}, run)
    _remove_all(git_site)


class TestSeatsOfACourse:
    """All tests share one base and three clones. A test that damages a seat comes after those that use it."""

    def test_all_have_the_repository_and_each_its_branch(self, cloned: Cloned) -> None:
        site = cloned.site
        assert cloned.base["repository"] == {
            "name": "Course",
            "full_name": f"{OWNER}/Course",
            "clone_url": f"http://localhost:{PORT}/git/{OWNER}/Course.git",
            "web_url": f"http://localhost:{PORT}/git/{OWNER}/Course",
            "branch": "main",
        }
        # Two names that make the same branch: one has it, the other one that says whose it is.
        branches = {name: cloned.branch(name) for name in SEATS}
        assert sorted(branches.values())[:2] == BRANCHES
        assert len(set(branches.values())) == 3
        assert set(_branches(site)) == {"main", *branches.values()}
        for workspace, branch in ((cloned.base, "main"), *((cloned.seats[name], branches[name]) for name in SEATS)):
            assert workspace["git_problem"] is None
            told = (
                "cd /workspace; git remote get-url origin; git config user.name; git config user.email; git status -sb"
            )
            assert site.run_inside(workspace, told).splitlines() == [
                f"http://git.internal:{GIT_PORT}/git/{OWNER}/Course.git",
                workspace["name"],
                f"{site.public_name(workspace)}@seats.localhost",
                f"## {branch}...origin/{branch}",
                "A  exercise.txt",
                "?? loose.txt",
            ]

    def test_the_same_order_again_changes_nothing(self, cloned: Cloned) -> None:
        again = cloned.site.play("workspace_create", workspace_name="Course", workspace_git_repo=True)
        assert not again.succeeded().changed

    def test_all_push_at_once_each_to_its_own_branch_only(self, cloned: Cloned) -> None:
        site = cloned.site
        work = "cd /workspace; git add -A; git commit -qm 'Work of {name}'; git push -q 2>&1; git rev-parse HEAD"
        with ThreadPoolExecutor() as pool:
            heads = list(pool.map(lambda seat: site.run_inside(seat, work.format(**seat)), cloned.seats.values()))
        pushed = _branches(site)
        assert [pushed[cloned.branch(name)] for name in cloned.seats] == heads
        for target in ("main", cloned.branch("Course 2"), "new"):
            refused = f"cd /workspace; git push origin HEAD:{target} 2>&1; echo code $?"
            assert site.run_inside(cloned.seats["Course 1"], refused).splitlines()[-1] != "code 0"
        assert _branches(site) == pushed

    def test_after_a_restart_a_seat_has_its_credential_for_this_server_only(self, cloned: Cloned) -> None:
        site, seat = cloned.site, cloned.seats["Course 1"]
        site.play("workspace_stop", workspace_id=seat["id"]).succeeded()
        site.play("workspace_start", workspace_id=seat["id"]).succeeded()
        site.run_inside(seat, "cd /workspace; git commit -q --allow-empty -m More; git push -q")
        assert site.run_inside(seat, "printf 'protocol=http\\nhost=example.org\\n\\n' | git-credential-seat get") == ""

    def test_each_token_is_in_one_seat_and_nowhere_else(self, cloned: Cloned) -> None:
        site, everybody = cloned.site, [cloned.base, *cloned.seats.values()]
        shown = [cloned.run.output, json.dumps(cloned.run.results)]
        shown += [path.read_bytes().decode(errors="replace") for path in site.state.rglob("*") if path.is_file()]
        shown += [json.dumps(site.container(seat).attrs) + site.container(seat).logs().decode() for seat in everybody]
        shown += [json.dumps([image.attrs, image.history()]) for image in site.snapshots()]
        for owner in everybody:
            _, token = _credential(site, owner)
            assert not [text[:200] for text in shown if token in text]
            assert {seat["id"]: _holders(site, seat, token) for seat in everybody} == {
                seat["id"]: HOLDERS if seat is owner else [] for seat in everybody
            }

    def test_deleting_a_seat_ends_its_access_and_keeps_its_work(self, cloned: Cloned) -> None:
        site, seat = cloned.site, cloned.seats["course-2"]
        site.run_inside(seat, "cd /workspace; git commit -q --allow-empty -m Kept; git push -q")
        head = site.run_inside(seat, "git -C /workspace rev-parse HEAD")
        user, token = _credential(site, seat)
        address = f"http://{user}:{token}@localhost:{PORT}/git/{OWNER}/Course.git"
        asked = partial(
            subprocess.run,
            ["git", "ls-remote", address],
            capture_output=True,
            check=False,
            env={"GIT_TERMINAL_PROMPT": "0", "PATH": "/usr/bin"},
        )
        assert asked().returncode == 0
        site.play("workspace_delete", workspace_id=seat["id"]).succeeded()
        assert asked().returncode != 0
        assert _branches(site)[cloned.branch("course-2")] == head

    def test_a_collect_pushes_from_a_running_seat_whatever_its_user_made_of_git(
        self, cloned: Cloned, tmp_path: Path
    ) -> None:
        """The seat that does not run is archived as it is."""
        site, runs, rests = cloned.site, cloned.seats["Course 1"], cloned.seats["Course 2"]
        folder = tmp_path / "archives"
        site.run_inside(runs, f"echo late > /workspace/late.txt; {MISCHIEF}")
        site.run_inside(rests, "echo late > /workspace/late.txt")
        site.play("workspace_stop", workspace_id=rests["id"]).succeeded()
        site.play("workshop_collect", workshop_base="Course", workshop_archive=str(folder)).succeeded()
        manifest = {seat["name"]: seat for seat in json.loads((folder / "manifest.json").read_text())["seats"]}
        assert (manifest["Course 1"]["pushed"], manifest["Course 1"]["committed"]) == (True, True)
        assert manifest["Course 1"]["commit"] == _branches(site)[cloned.branch("Course 1")]
        assert site.run_inside(runs, "ls -d /tmp/asked /tmp/.collect.* 2>/dev/null || true") == ""
        assert (manifest["Course 2"]["pushed"], manifest["Course 2"]["branch"]) == (False, cloned.branch("Course 2"))


def test_a_container_that_is_lost_gets_back_what_was_pushed(git_site: Installation, course: dict[str, Any]) -> None:
    git_site.run_inside(course, "cd /workspace; git add -A; git commit -qm Exercise; git push -q")
    git_site.container(course).remove(force=True)
    git_site.play("workspace_start", workspace_id=course["id"]).succeeded()
    script = "cd /workspace; cat exercise.txt; git status -sb; git commit -q --allow-empty -m More; git push -q"
    assert git_site.run_inside(course, script).splitlines() == ["exercise", "## main...origin/main"]


def test_what_was_killed_is_finished_by_the_same_order(tidy: Installation) -> None:
    """Killed while a repository is made, and while clones get their branches: nothing exists twice."""
    started = tidy.start("workspace_create", workspace_name="Course", workspace_git_repo=True)
    eventually(lambda: forge(tidy).repository("Course"), "the repository")
    started.kill()
    made = tidy.create("Course", git_repo=True)
    assert (made["git_problem"], made["repository"]["name"]) == (None, "Course")
    assert [repository.name for repository in forge(tidy).repositories()] == ["Course"]

    started = tidy.start("workspace_clone", clone_source="Course", clone_count=3)
    with tidy.newest_held(4):
        eventually(lambda: len(_branches(tidy)) > 1, "a branch")
        started.kill()
    seats = tidy.clone(source="Course", count=3).succeeded().seats
    assert [seat["git_problem"] for seat in seats] == [None] * 3
    assert {"main", *(seat["repository"]["branch"] for seat in seats)} == set(_branches(tidy))
    for seat in seats:
        tidy.run_inside(seat, "cd /workspace; git commit -q --allow-empty -m Work; git push -q")


def test_a_git_server_that_fails_fails_no_workspace(git_site: Installation, course: dict[str, Any]) -> None:
    """Down, broken, something else, or slow: seats are made, say what they lack, and get it by the same order again."""
    site = git_site
    faults = {
        "Down": stopped(site, "git"),
        "Broken": impostor(site, status=500, body=b"<h1>Internal error</h1>"),
        "Html": impostor(site, body=b"<html>Welcome</html>"),
        "Slow": impostor(site, delay=10),
        # The server makes the repository, but the seat can't reach it to push.
        "Cut": stopped(site, "gateway"),
    }
    for name, fault in faults.items():
        with fault:
            made = site.create(name, git_repo=True, template="empty")
            assert (made["status"], made["repository"]) == ("running", None)
            assert made["git_problem"].startswith(f"No repository was created for '{name}': ")
            if name == "Down":
                seats = site.clone(source="Course", count=2).succeeded().seats
        finished = site.create(name, git_repo=True)
        assert (finished["id"], finished["git_problem"]) == (made["id"], None)
        assert finished["repository"]["full_name"] == f"{OWNER}/{name}"
        assert list(forge(site).branches(name)) == ["main"]

    for number, seat in enumerate(seats, 1):
        assert (seat["status"], seat["repository"]["branch"]) == ("running", "main")
        assert "stays on main, without its own branch" in seat["git_problem"]
        assert site.run_inside(seat, "cd /workspace; git branch --show-current; cat loose.txt").split() == ["main", "x"]
        mended = site.play("workspace_start", workspace_id=seat["id"]).succeeded().result["workspace"]
        assert (mended["git_problem"], mended["repository"]["branch"]) == (None, f"clone/course-{number}")

    # Access that could not be revoked is ended as soon as the server can be asked.
    with stopped(site, "git"):
        deleted = site.play("workspace_delete", workspace_id=seats[0]["id"]).succeeded()
        assert "could not be revoked" in json.dumps(deleted.result["warnings"])
    drift = site.play("reconcile", repair=True).succeeded().result["drift"]
    assert [(entry["kind"], entry["subject"]) for entry in drift] == [("leftover_git_access", seats[0]["id"])]
    assert site.play("reconcile").succeeded().result["drift"] == []
