"""The scripts that give a seat its repository, run here by a real git: one connects /workspace to the git server, one
fills it from another address."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import atelier.containers
import pytest

SCRIPTS = Path(atelier.containers.__file__).parent / "scripts"
BRANCH = "clone/course-1"


class Seat:
    """A folder in place of /workspace, its user's home, and a bare repository on the git server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.workspace = folder, folder / "home", folder / "workspace"
        self.server, self.programs = folder / "server.git", folder / "programs"
        for made in (self.home, self.workspace, self.programs):
            made.mkdir()
        credential = self.programs / "load-git-credential"
        credential.write_text("#!/bin/sh\n")
        credential.chmod(0o755)
        self.environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        (self.home / ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n")
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.server), where=folder)

    def git(self, *words: str, where: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=where or self.workspace,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str, text: str = "work\n") -> None:
        (self.workspace / name).write_text(text)

    def commit(self, name: str) -> str:
        self.write(name)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", name)
        return self.git("rev-parse", "HEAD")

    def run(self, script: str, *order: str) -> tuple[int, str]:
        text = re.sub(r"(?<!new)/workspace", str(self.workspace), (SCRIPTS / script).read_text())
        done = subprocess.run(
            ["/bin/sh", "-c", text, script, *order],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def connect(self, branch: str = BRANCH, *, restore: bool = False) -> tuple[int, str]:
        return self.run("connect_repository.sh", branch, str(self.server), "20", "yes" if restore else "")

    def fetch(self, url: str) -> tuple[int, str]:
        return self.run("fetch_repository.sh", url, url, "20", str(self.home / "access"))

    def branches(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads", where=self.server)
        return dict(line.split(" ") for line in lines.splitlines())

    @property
    def files(self) -> list[str]:
        return sorted(found.name for found in self.workspace.iterdir() if found.name != ".git")


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    return Seat(tmp_path)


# --- Connecting -------------------------------------------------------------------------------------------------------


def test_plain_files_become_the_first_commit_on_the_seat_s_branch(seat: Seat) -> None:
    seat.write("exercise.txt")
    assert seat.connect() == (0, "")
    assert seat.branches() == {BRANCH: seat.git("rev-parse", "HEAD")}
    assert seat.git("show", f"{BRANCH}:exercise.txt", where=seat.server) == "work"
    assert seat.git("status", "--short", "--branch") == f"## {BRANCH}...origin/{BRANCH}"
    # Once more, as after a run that was killed: nothing to do.
    assert seat.connect() == (0, "")


def test_work_that_is_not_committed_stays_as_it_is(seat: Seat) -> None:
    seat.git("init", "--quiet", "--initial-branch=trunk")
    head = seat.commit("start")
    seat.write("staged")
    seat.git("add", "staged")
    seat.write("loose")
    assert seat.connect() == (0, "")
    assert seat.branches() == {BRANCH: head}
    assert seat.git("status", "--porcelain").splitlines() == ["A  staged", "?? loose"]


def test_a_former_origin_is_kept_as_upstream(seat: Seat) -> None:
    seat.git("init", "--quiet")
    seat.commit("start")
    seat.git("remote", "add", "origin", "https://example.org/lesson.git")
    assert seat.connect() == (0, "")
    assert seat.git("remote", "get-url", "upstream") == "https://example.org/lesson.git"
    assert seat.git("remote", "get-url", "origin") == str(seat.server)


def test_the_user_s_hooks_and_signing_do_not_stop_it(seat: Seat) -> None:
    seat.git("config", "--global", "commit.gpgSign", "true")
    seat.git("init", "--quiet")
    for name in ("pre-commit", "pre-push", "post-checkout"):
        hook = seat.workspace / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {seat.folder}/ran\nexit 1\n")
        hook.chmod(0o755)
    seat.write("exercise.txt")
    assert seat.connect() == (0, "")
    assert BRANCH in seat.branches()
    assert not (seat.folder / "ran").exists()


def test_a_branch_with_newer_commits_is_only_tracked(seat: Seat) -> None:
    assert seat.connect() == (0, "")
    newer = seat.commit("newer")
    seat.git("push", "--quiet", "origin", BRANCH)
    seat.git("reset", "--quiet", "--hard", "HEAD~1")
    older = seat.git("rev-parse", "HEAD")
    assert seat.connect() == (0, "")
    assert (seat.branches(), seat.git("rev-parse", "HEAD")) == ({BRANCH: newer}, older)


def test_a_branch_that_went_another_way_is_never_overwritten(seat: Seat) -> None:
    assert seat.connect() == (0, "")
    theirs = seat.commit("theirs")
    seat.git("push", "--quiet", "origin", BRANCH)
    seat.git("reset", "--quiet", "--hard", "HEAD~1")
    ours = seat.commit("ours")
    code, said = seat.connect()
    assert code == 1
    assert "rejected" in said
    assert (seat.branches(), seat.git("rev-parse", "HEAD")) == ({BRANCH: theirs}, ours)


def test_a_container_that_was_lost_gets_what_was_pushed(seat: Seat) -> None:
    assert seat.connect() == (0, "")
    seat.commit("pushed")
    seat.git("push", "--quiet", "origin", BRANCH)
    subprocess.run(["rm", "-rf", seat.workspace], check=True)
    seat.workspace.mkdir()
    seat.write("of the template")
    assert seat.connect(restore=True) == (0, "")
    assert "pushed" in seat.files
    assert seat.git("status", "--short", "--branch") == f"## {BRANCH}...origin/{BRANCH}"


def test_an_image_without_the_credential_s_program_says_so(seat: Seat) -> None:
    (seat.programs / "load-git-credential").unlink()
    assert seat.connect() == (1, "atelier: old_image\n")
    assert seat.branches() == {}


# --- Fetching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(seat: Seat) -> Iterator[str]:
    """The address of an HTTP server with the seat's folder."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(seat.folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def lesson(seat: Seat, web: str) -> str:
    """The address of a repository with one commit of two files."""
    (seat.folder / "source").mkdir()
    source = Seat(seat.folder / "source")
    source.write("first")
    source.write("second")
    assert source.connect("main") == (0, "")
    source.git("update-server-info", where=source.server)
    return f"{web}/source/server.git"


def test_the_template_s_files_are_replaced_by_the_repository_s(seat: Seat, lesson: str) -> None:
    seat.git("init", "--quiet")
    seat.commit("of the template")
    assert seat.fetch(lesson) == (0, "")
    assert seat.files == ["first", "second"]
    assert seat.git("remote", "get-url", "origin") == lesson
    assert not (seat.home / ".cache" / "atelier-git-clone").exists()


@pytest.mark.parametrize("done", ["whole", "room", "half"])
def test_one_that_was_killed_goes_on_where_it_was(seat: Seat, lesson: str, done: str) -> None:
    new = seat.home / ".cache" / "atelier-git-clone"
    seat.git("clone", "--quiet", lesson, str(new / "workspace"), where=seat.folder)
    (new / "whole").touch()
    if done == "whole":
        seat.write("of the template")
    else:
        (new / "room").touch()
    if done == "half":
        (new / "workspace" / "first").rename(seat.workspace / "first")
    # Nothing is fetched again: what is here is complete.
    assert seat.fetch("http://127.0.0.1:9/none") == (0, "")
    assert seat.files == ["first", "second"]
    assert not new.exists()


def test_what_is_no_repository_leaves_the_files_as_they_were(seat: Seat, web: str) -> None:
    seat.write("of the template")
    empty = seat.folder / "empty.git"
    seat.git("init", "--quiet", "--bare", str(empty), where=seat.folder)
    seat.git("update-server-info", where=empty)
    code, said = seat.fetch(f"{web}/empty.git")
    assert (code, said.splitlines()[-1]) == (1, "atelier: nothing_in_it")
    code, said = seat.fetch(f"{web}/nowhere.git")
    assert code != 0
    assert "nowhere.git" in said
    assert seat.files == ["of the template"]


def test_a_repository_with_work_is_not_replaced(seat: Seat, lesson: str) -> None:
    seat.git("init", "--quiet")
    seat.commit("start")
    seat.write("work")
    code, said = seat.fetch(lesson)
    assert (code, said) == (1, "atelier: files_there\n")
    assert seat.files == ["start", "work"]


@pytest.mark.parametrize("kept", ["commit", "stash"])
def test_work_that_was_committed_is_not_replaced(seat: Seat, lesson: str, kept: str) -> None:
    """A workspace whose repository could not be fetched opens all the same. The template has one commit."""
    seat.git("init", "--quiet")
    seat.commit("start")
    seat.write("start", "changed\n")
    seat.git(*(["commit", "--quiet", "--all", "--message", "work"] if kept == "commit" else ["stash"]))
    assert seat.fetch(lesson) == (1, "atelier: files_there\n")
    assert seat.files == ["start"]


def test_files_beside_no_repository_are_not_replaced(seat: Seat, lesson: str) -> None:
    """Somebody removed the template's repository: nobody knows which of its files are work."""
    seat.write("work")
    assert seat.fetch(lesson) == (1, "atelier: files_there\n")
    assert seat.files == ["work"]
    (seat.workspace / "work").unlink()
    assert seat.fetch(lesson) == (0, "")
    assert seat.files == ["first", "second"]


def test_files_that_were_fetched_already_are_no_work(seat: Seat, lesson: str) -> None:
    """A run was killed between the end of its fetch and the note of it."""
    source = seat.folder / "source"
    (source / "workspace" / "third").write_text("work\n")
    for command in (["add", "."], ["commit", "--quiet", "--message", "third"], ["push", "--quiet", "origin", "main"]):
        seat.git(*command, where=source / "workspace")
    seat.git("update-server-info", where=source / "server.git")
    for _ in range(2):
        assert seat.fetch(lesson) == (0, "")
        assert seat.files == ["first", "second", "third"]
    seat.write("work")
    seat.git("add", "work")
    seat.git("commit", "--quiet", "--message", "work")
    assert seat.fetch(lesson) == (1, "atelier: files_there\n")


def test_a_repository_that_git_cannot_read_is_not_replaced(seat: Seat, lesson: str) -> None:
    seat.git("init", "--quiet")
    seat.commit("start")
    seat.write("work")
    (seat.workspace / ".git" / "index").write_bytes(b"damaged")
    assert seat.fetch(lesson)[0] != 0
    assert seat.files == ["start", "work"]


def test_only_http_is_spoken(seat: Seat) -> None:
    seat.write("of the template")
    code, said = seat.fetch(f"file://{seat.server}")
    assert code != 0
    assert "not allowed" in said
    assert seat.files == ["of the template"]
