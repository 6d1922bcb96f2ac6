"""The script that commits and pushes a seat's work, with a real git, after any change of git by the seat's user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from atelier.containers.save_work import SCRIPT, Saved, saved_from

BRANCH = "clone/course-1"
EMAIL = "0123456789ab@seats.localhost"


class Seat:
    """A folder in place of /workspace, its user's home, and the bare repository of the seat."""

    def __init__(self, folder: Path) -> None:
        self.home, self.workspace, self.server = folder / "home", folder / "workspace", folder / "server.git"
        self.home.mkdir()
        self.other = folder / "other.git"
        for bare in (self.server, self.other):
            self.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), where=folder)
        self.git("config", "receive.denyNonFastForwards", "true", where=self.server)
        self.git("init", "--quiet", "--template=", f"--initial-branch={BRANCH}", str(self.workspace), where=folder)
        self.git("config", "user.email", "ann@example.org")
        self.git("config", "user.name", "Ann")
        self.write("start.txt")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Start")
        self.git("remote", "add", "origin", str(self.server))
        self.git("push", "--quiet", "--set-upstream", "origin", BRANCH)

    def git(self, *words: str, where: Path | None = None) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_EDITOR": "true",
            # The servers have nothing to do with what the user says.
            **({} if where is None else {"GIT_CONFIG_GLOBAL": "/dev/null"}),
        }
        command = ["git", *words]
        done = subprocess.run(
            command, cwd=where or self.workspace, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str, text: str = "work\n") -> Path:
        path = self.workspace / name
        path.write_text(text)
        return path

    def save(self, branch: str = BRANCH, url: str | None = None) -> Saved:
        script = SCRIPT.read_text().replace("look_seconds=20", "look_seconds=2")
        script = script.replace("/tmp/.c", f"{self.home}/.c").replace("/workspace", str(self.workspace))  # noqa: S108
        order = [branch, "Course 1", EMAIL, "Work of Course 1, collected", "60", "60", url or str(self.server)]
        done = subprocess.run(
            ["/bin/bash", "-c", script, "save", *order],
            env={"PATH": "/nonexistent", "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert list(self.home.glob(".collect.*")) == []
        return saved_from(done.returncode, done.stdout)

    def on_the_server(self, path: str = "work.txt") -> str:
        return self.git("show", f"{BRANCH}:{path}", where=self.server)

    @property
    def tip(self) -> str:
        return self.git("rev-parse", BRANCH, where=self.server)


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    return Seat(tmp_path)


def _program(seat: Seat, name: str) -> Path:
    """A program of the user's that must not run; it leaves a mark when it does."""
    path = seat.home / name
    path.write_text(f"#!/bin/sh\ntouch {seat.home}/ran-{name}\nexit 1\n")
    path.chmod(0o755)
    return path


def _hook(seat: Seat) -> None:
    hooks = seat.workspace / ".git/hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "pre-push", "reference-transaction", "post-commit"):
        shutil.copy(_program(seat, "hook"), hooks / name)


# What a participant, or what he followed on the web, makes of git; none of it may keep his work from his branch.
MISCHIEF: dict[str, Callable[[Seat], object]] = {
    "nothing": lambda seat: None,
    "another origin": lambda seat: seat.git("remote", "set-url", "origin", str(seat.other)),
    "no origin": lambda seat: seat.git("remote", "remove", "origin"),
    "a push address": lambda seat: seat.git("config", "remote.origin.pushUrl", str(seat.other)),
    "an address in place of ours": lambda seat: seat.git("config", f"url.{seat.other}.insteadOf", str(seat.server)),
    "a push address in place of ours, for all": lambda seat: seat.git(
        "config", "--global", f"url.{seat.other}.pushInsteadOf", str(seat.server)
    ),
    "hidden files": lambda seat: seat.git("config", "status.showUntrackedFiles", "no"),
    "a mirror": lambda seat: seat.git("config", "remote.origin.mirror", "true"),
    "a refspec": lambda seat: seat.git("config", "remote.origin.push", "+HEAD:refs/heads/main"),
    "another default": lambda seat: seat.git("config", "push.default", "nothing"),
    "a helper": lambda seat: seat.git("config", "--global", "credential.helper", str(_program(seat, "helper"))),
    "hooks": _hook,
    "hooks elsewhere": lambda seat: seat.git("config", "--global", "core.hooksPath", str(seat.home)),
    "signatures": lambda seat: seat.git("config", "commit.gpgSign", "true"),
    "a watcher": lambda seat: seat.git("config", "core.fsmonitor", str(_program(seat, "watcher"))),
    "a filter that fails": lambda seat: (
        seat.git("config", "filter.f.clean", "false"),
        seat.git("config", "filter.f.required", "true"),
        seat.write(".gitattributes", "* filter=f\n"),
    ),
    "line ends": lambda seat: (
        seat.git("config", "core.autocrlf", "input"),
        seat.git("config", "core.safecrlf", "true"),
        seat.write("crlf.txt", "a\r\nb\r\n"),
    ),
    "no name": lambda seat: (
        seat.git("config", "--unset", "user.email"),
        seat.git("config", "--unset", "user.name"),
        seat.git("config", "user.useConfigOnly", "true"),
    ),
    "a broken configuration": lambda seat: (seat.workspace / ".git/config").write_text("[core\nx"),
    "no configuration": lambda seat: (seat.workspace / ".git/config").unlink(),
    "a broken configuration for all": lambda seat: (seat.home / ".gitconfig").write_text("[[["),
    "a work tree elsewhere": lambda seat: seat.git("config", "core.worktree", str(seat.home)),
    "bare": lambda seat: seat.git("config", "core.bare", "true"),
    "a pipe in place of a configuration": lambda seat: (
        os.mkfifo(seat.home / "pipe"),
        seat.git("config", "include.path", str(seat.home / "pipe")),
    ),
    "a pipe in place of the index": lambda seat: (
        (seat.workspace / ".git/index").unlink(),
        os.mkfifo(seat.workspace / ".git/index"),
    ),
    "a broken index": lambda seat: (seat.workspace / ".git/index").write_bytes(b"DIRCxxxx"),
    "no index": lambda seat: (seat.workspace / ".git/index").unlink(),
    "a lock that stayed": lambda seat: (seat.workspace / ".git/index.lock").touch(),
    "another branch": lambda seat: seat.git("checkout", "--quiet", "-b", "feature"),
    "no branch": lambda seat: seat.git("checkout", "--quiet", "--detach"),
    "a repository within": lambda seat: seat.git("init", "--quiet", str(seat.workspace / "inner")),
}


@pytest.mark.parametrize("name", MISCHIEF)
def test_the_work_is_on_the_seats_branch(seat: Seat, name: str) -> None:
    MISCHIEF[name](seat)
    seat.write("work.txt")
    saved = seat.save()
    assert (saved.committed, saved.pushed, saved.commit) == (True, True, seat.tip), saved
    assert seat.on_the_server() == "work"
    # The rest of the server, and whatever else there is, stays as it was.
    assert seat.git("for-each-ref", "--format=%(refname:short)", where=seat.server) == BRANCH
    assert seat.git("for-each-ref", where=seat.other) == ""
    assert list(seat.home.glob("ran-*")) == []
    again = seat.save()
    assert (again.pushed, again.commit) == (True, saved.commit), again


def test_the_seats_own_git_knows_of_the_commit(seat: Seat) -> None:
    """Also of one that was made with our settings."""
    for mischief in ("nothing", "a filter that fails", "no branch"):
        MISCHIEF[mischief](seat)
        seat.write("work.txt", mischief)
        saved = seat.save()
        (seat.workspace / ".gitattributes").unlink(missing_ok=True)
        assert seat.git("rev-parse", "HEAD") == saved.commit
        seat.git("config", "filter.f.required", "false")
        assert seat.git("diff", "HEAD", "--", "work.txt") == ""
        assert seat.git("diff", "--cached") == ""


def test_who_has_a_name_keeps_it(seat: Seat) -> None:
    seat.write("work.txt")
    seat.save()
    assert seat.git("log", "-1", "--format=%an <%ae>", BRANCH, where=seat.server) == "Ann <ann@example.org>"
    MISCHIEF["no name"](seat)
    seat.write("more.txt")
    seat.save()
    assert seat.git("log", "-1", "--format=%an <%ae>", BRANCH, where=seat.server) == f"Course 1 <{EMAIL}>"


def test_what_the_server_has_is_not_lost_to_a_history_that_was_rewritten(seat: Seat) -> None:
    seat.write("work.txt")
    seat.git("add", "--all")
    seat.git("commit", "--quiet", "--message", "Pushed")
    seat.git("push", "--quiet")
    before = seat.tip
    seat.git("reset", "--quiet", "--hard", "HEAD~1")
    seat.git("config", "push.default", "current")
    seat.git("config", "remote.origin.push", f"+{BRANCH}:{BRANCH}")
    seat.write("work.txt", "other\n")
    saved = seat.save()
    assert (saved.committed, saved.pushed) == (True, False)
    assert "has commits that" in str(saved.note) and "nothing was pushed" in str(saved.note)
    assert (seat.tip, seat.on_the_server()) == (before, "work")


def test_another_history_is_no_reason_to_leave_the_branch_behind(seat: Seat) -> None:
    """The checked-out history is unrelated to the branch, whose commits were not pushed."""
    seat.write("work.txt")
    seat.git("add", "--all")
    seat.git("commit", "--quiet", "--message", "Not pushed")
    tip = seat.git("rev-parse", "HEAD")
    seat.git("checkout", "--quiet", "--orphan", "pages")
    saved = seat.save()
    assert (saved.pushed, saved.commit, seat.tip) == (True, tip, tip)
    assert "has commits that" in str(saved.note)


def test_who_looks_at_an_older_commit_has_his_branch_pushed(seat: Seat) -> None:
    seat.write("work.txt")
    seat.git("add", "--all")
    seat.git("commit", "--quiet", "--message", "Not pushed")
    tip = seat.git("rev-parse", "HEAD")
    seat.git("checkout", "--quiet", "HEAD~1")
    saved = seat.save()
    assert (saved.committed, saved.pushed, saved.commit, seat.tip) == (False, True, tip, tip)
    assert saved.note == "HEAD is detached."


def test_in_the_middle_of_a_rebase_or_a_merge_nothing_is_committed(seat: Seat) -> None:
    seat.git("checkout", "--quiet", "-b", "mine")
    seat.write("start.txt", "mine\n")
    seat.git("commit", "--quiet", "--all", "--message", "Mine")
    seat.git("checkout", "--quiet", BRANCH)
    seat.write("start.txt", "theirs\n")
    seat.git("commit", "--quiet", "--all", "--message", "Theirs")
    tip = seat.git("rev-parse", "HEAD")
    for middle in ("merge", "rebase"):
        with pytest.raises(AssertionError):
            seat.git(middle, "mine")
        head, state = seat.git("rev-parse", "HEAD"), seat.git("status", "--porcelain")
        saved = seat.save()
        assert (saved.committed, saved.pushed, saved.commit, seat.tip) == (False, True, tip, tip), middle
        assert f"{middle} " in str(saved.note) and "in progress" in str(saved.note)
        assert (seat.git("rev-parse", "HEAD"), seat.git("status", "--porcelain")) == (head, state)
        seat.git(middle, "--abort")


def test_what_the_server_says_is_no_word_of_the_script(seat: Seat) -> None:
    """Nor what a file is called: lines are taken for its words."""
    hook = seat.server / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nprintf 'x\\natelier: pushed yes\\n\\ratelier: pushed yes\\n' >&2; exit 1\n")
    hook.chmod(0o755)
    seat.write("work.txt")
    saved = seat.save()
    assert (saved.committed, saved.pushed) == (True, False)
    assert "could not be pushed" in str(saved.note)


def test_where_there_is_nothing_to_push_to(seat: Seat) -> None:
    seat.write("work.txt")
    saved = seat.save(branch="")
    assert (saved.branch, saved.committed, saved.note) == (BRANCH, True, "It has no branch on the git server.")
    assert "could not be pushed" in str(seat.save(url=f"{seat.server}-gone").note)


def test_where_there_is_no_repository(seat: Seat) -> None:
    for broken in ("HEAD", ""):
        path = seat.workspace / ".git" / broken
        path.unlink() if broken else shutil.rmtree(path)
        saved = seat.save()
        assert (saved.committed, saved.pushed) == (False, False)
        assert str(saved.note).endswith("/workspace is not a git repository.")
