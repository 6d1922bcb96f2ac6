"""Limits of pushes to the embedded git service: real pushes through its own hook, without a network."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from atelier_git.repositories import contents, git
from atelier_git.repositories.bounded import limited, run_bounded
from atelier_git.repositories.contents import MIB, Limits, Refused, check_objects
from atelier_git.repositories.policy import Pusher

LIMITS = Limits(file=2 * MIB, repository=6 * MIB, objects=200, branch=3 * MIB, default_branch="main")


class Repository:
    """A bare repository of the service, and a working copy that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.limits = LIMITS
        self.bare = folder / git.create(folder, "main")
        self.copy = folder / "copy"
        self.git("init", "--quiet", "--initial-branch=main", str(self.copy), cwd=folder)
        self.commit("README", b"hello")
        assert "main -> main" in self.push("main")
        self.git("checkout", "--quiet", "-b", "clone/a")

    def git(self, *words: str, cwd: Path | None = None, text: bytes = b"", fails: bool = False) -> str:
        person = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        known = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **person}
        done = subprocess.run(["git", *words], cwd=cwd or self.copy, env=known, input=text, capture_output=True)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert (done.returncode != 0) is fails, said
        return said

    def commit(self, name: str, data: bytes) -> None:
        (self.copy / name).write_bytes(data)
        self.git("add", name)
        self.git("commit", "--quiet", "-m", name)

    def push(self, *what: str, fails: bool = False) -> str:
        variables = {"ATELIER_PUSHER": Pusher("seat", True).dump(), "ATELIER_LIMITS": self.limits.dump()}
        found = git.environment(**variables)
        program = self.bare.parent / "receive"
        words = [f"{key}={value}" for key, value in found.items()]
        program.write_text(f'#!/bin/sh\nexec env -i {shlex.join(words)} git receive-pack "$@"\n')
        program.chmod(0o755)
        return self.git("push", f"--receive-pack={program}", str(self.bare), *what, fails=fails)

    def heads(self) -> dict[str, str]:
        return {branch.name: branch.commit for branch in git.branches(self.bare)}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def _made(repository: Repository, kind: str, data: bytes) -> str:
    return repository.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", text=data).strip()


def _commit_with(repository: Repository, message: bytes) -> str:
    tree, parent = (repository.git("rev-parse", name).strip() for name in ("HEAD^{tree}", "HEAD"))
    person = b"a <a@b> 1700000000 +0000"
    lines = [f"tree {tree}".encode(), f"parent {parent}".encode(), b"author " + person, b"committer " + person]
    return _made(repository, "commit", b"\n".join([*lines, b"", message]))


def test_a_commit_with_an_endless_subject_is_refused_and_breaks_no_list(repository: Repository) -> None:
    long = _commit_with(repository, b"A" * 20_000_000 + b"\n")
    said = repository.push(f"{long}:refs/heads/clone/a", fails=True)
    assert f"remote: The commit {long[:10]} has 19.1 MiB and may have 1.0 MiB. Make it again with a shorter" in said
    assert "Nothing of this push was taken." in said
    assert set(repository.heads()) == {"main"}
    # One that was taken before there was a limit.
    repository.git("fetch", "--quiet", str(repository.copy), f"{long}:refs/heads/old", cwd=repository.bare)
    assert repository.heads()["old"] == long
    repository.push("clone/a")


def test_a_tag_has_the_same_limit(repository: Repository) -> None:
    head = repository.git("rev-parse", "HEAD").strip()
    tag = f"object {head}\ntype commit\ntag x\ntagger a <a@b> 1700000000 +0000\n\n".encode() + b"A" * 2 * MIB
    assert "The tag" in repository.push(f"{_made(repository, 'tag', tag)}:refs/tags/x", fails=True)


def test_a_large_file_is_refused_by_its_name_also_in_an_older_commit(repository: Repository) -> None:
    (repository.copy / "data").mkdir()
    repository.commit("data/ä big.bin", bytes(3 * MIB))  # compresses to nothing
    repository.git("rm", "--quiet", "data/ä big.bin")
    repository.git("commit", "--quiet", "-m", "gone again")
    said = repository.push("clone/a", fails=True)
    assert "The file 'data/ä big.bin' has 3.0 MiB and may have 2.0 MiB. Take it out of your commits." in said
    assert not list(repository.bare.glob("objects/tmp_*"))
    repository.git("reset", "--quiet", "--hard", "main")
    repository.commit("small", b"1")
    repository.push("clone/a")


def test_a_branch_takes_its_share_and_leaves_the_rest(repository: Repository) -> None:
    for number in range(2):
        repository.commit(f"f{number}", os.urandom(MIB))
        repository.push("clone/a")
    repository.commit("f3", os.urandom(3 * MIB // 2))
    before = repository.heads()
    said = repository.push("clone/a", fails=True)
    assert "your branch would hold 3.5 MiB of its own; it may hold 3.0 MiB" in said
    assert repository.heads() == before
    # Another one has its own share, until the repository is full; who is no seat may have all of it.
    repository.git("checkout", "--quiet", "-b", "clone/b", "main")
    repository.commit("g", os.urandom(3 * MIB // 2))
    repository.push("clone/b")
    repository.limits = replace(LIMITS, branch=None)
    repository.commit("h", os.urandom(MIB))
    repository.push("clone/b")
    repository.commit("i", os.urandom(2 * MIB - 9))
    said = repository.push("clone/b", fails=True)
    assert "the repository would hold 6." in said and "it may hold 6.0 MiB" in said and "ask whoever runs" in said
    assert not list(repository.bare.glob("objects/tmp_*"))
    repository.git("ls-remote", "--exit-code", str(repository.bare))


def test_many_small_objects_are_refused(repository: Repository) -> None:
    for number in range(120):
        (repository.copy / f"f{number}").write_text(str(number))
    repository.git("add", ".")
    repository.git("commit", "--quiet", "-m", "many")
    repository.push("clone/a")
    for number in range(120):
        (repository.copy / f"g{number}").write_text(f"g{number}")
    repository.git("add", ".")
    repository.git("commit", "--quiet", "-m", "more")
    assert "files, folders and commits; it may hold 200." in repository.push("clone/a", fails=True)


def test_a_chain_that_nobody_could_read_in_time() -> None:
    def chain(length: int) -> list[bytes]:
        return [
            b"blob 10 %040d %040d\n" % (number, number + 1 if number < length else 0) for number in range(1, length)
        ]

    check_objects(chain(4000), LIMITS)
    with pytest.raises(Refused, match="git repack"):
        check_objects(chain(5000), LIMITS)


def test_a_hook_that_can_not_look_refuses(repository: Repository, tmp_path: Path) -> None:
    repository.commit("a", b"1")
    repository.limits = replace(LIMITS, objects="many")  # type: ignore[arg-type]
    assert "remote: " in repository.push("clone/a", fails=True)
    assert set(repository.heads()) == {"main"}


def test_what_a_git_may_have() -> None:
    """Time, output and memory of a program and of all that it starts; the kernel ends it before the service."""
    environment = {"PATH": os.environ["PATH"]}
    asked = ["sh", "-c", "ulimit -v; cat /proc/self/oom_score_adj"]
    assert run_bounded(limited(asked, 512 * MIB), environment, seconds=9, limit=99)[1].split() == [b"524288", b"1000"]
    assert "took longer" in str(run_bounded(["sleep", "9"], environment, seconds=0.1, limit=9)[0])
    assert "printed more than 9 bytes" in str(run_bounded(["yes"], environment, seconds=9, limit=9)[0])
    many_errors = "head -c 999999 /dev/zero >&2; echo end"
    assert run_bounded(["sh", "-c", many_errors], environment, seconds=9, limit=9) == (None, b"end\n", bytes(4096))
    assert run_bounded(["sh", "-c", "echo no >&2; exit 3"], environment, seconds=9, limit=9) == ("", b"", b"no\n")
    # A hook has a git's memory: where it cannot read on, the program does not keep it beyond its time.
    with pytest.raises(MemoryError):
        run_bounded(["yes"], environment, seconds=0.1, limit=2**60)
    # And one that closes its output, or that nobody can begin to read, ends at its time, too.
    silent = ["sh", "-c", "exec >&- 2>&-; exec sleep 9"]
    assert "took longer" in str(run_bounded(silent, environment, seconds=0.1, limit=9)[0])
    hungry = ["python3", "-c", "bytearray(2**30)"]
    assert run_bounded(limited(hungry, 300 * MIB), environment, seconds=9, limit=9)[0] == ""


def test_what_a_repository_holds(repository: Repository) -> None:
    assert contents.size_of(repository.bare) > 0
    with pytest.raises(git.GitError):
        git.branches(repository.bare / "nothing")
