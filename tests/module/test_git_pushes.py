"""Real git clients at the embedded git service, as its role runs it: permissions, and the results of pushes."""

from __future__ import annotations

import base64
import http.client
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.git.urls import GitAccess

from tests.module.git_client import commit, git
from tests.module.git_container import LIMIT, OTHER, SEAT, Server, grant, heads
from tests.module.git_server import answers
from tests.waiting import eventually

MIB = 1024**2


def test_a_seat_pushes_its_branch_and_nothing_else(server: Server, work: Path, tmp_path: Path) -> None:
    seat, other = grant(server, SEAT, "clone/a"), grant(server, OTHER, "clone/b")
    git(tmp_path, "clone", "--quiet", server.url(seat), "seat")
    copy = tmp_path / "seat"
    assert git(copy, "branch", "--remotes", "--format=%(refname:lstrip=3)").split() == ["HEAD", "clone/a", "main"]
    git(copy, "checkout", "--quiet", "clone/a")
    first = commit(copy, "b.txt", "b\n")
    git(copy, "push", "--quiet", "origin", "clone/a")
    assert heads(server)["clone/a"] == first

    before = heads(server)
    commit(copy, "c.txt", "c\n")
    git(copy, "tag", "v1")
    for target in ("HEAD:main", "HEAD:clone/b", "HEAD:new", "v1", "HEAD:refs/notes/x"):
        said = git(copy, "push", "origin", target, fails=True)
        assert f"remote: {seat.user} may not push" in said and "Your branch is clone/a." in said, said
    # All or nothing.
    said = git(copy, "push", "origin", "HEAD:clone/a", "HEAD:main", fails=True)
    assert "Nothing of this push was taken." in said
    git(copy, "reset", "--quiet", "--hard", "HEAD~2")
    commit(copy, "d.txt", "d\n")
    assert "non-fast-forward" in git(copy, "push", "--force", "origin", "HEAD:clone/a", fails=True)
    assert "deletion prohibited" in git(copy, "push", "origin", ":clone/a", fails=True)
    assert heads(server) == before

    # The commit of another's branch, asked for by its number, in both versions of git's protocol.
    git(work, "checkout", "--quiet", "-b", "clone/b")
    secret = commit(work, "secret.txt", "not for others")
    git(work, "push", "--quiet", server.url(other), "clone/b")
    assert b"PACK" in ask_for(server, other, secret)
    assert b"not our ref" in ask_for(server, seat, secret)
    assert b"PACK" not in ask_for(server, seat, secret, "version=2")


def ask_for(server: Server, seat: GitAccess, commit: str, protocol: str | None = None) -> bytes:
    """The server's answer to a client that asks for a commit by its number, which no branch may have."""

    def line(text: str) -> str:
        return f"{len(text) + 5:04x}{text}\n"

    body = f"{line(f'want {commit}')}0000{line('done')}"
    if protocol:
        body = f"{line('command=fetch')}0001{line(f'want {commit}')}{line('done')}0000"
    login = base64.b64encode(f"{seat.user}:{seat.token}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/x-git-upload-pack-request"}
    if protocol:
        headers["Git-Protocol"] = protocol
    with closing(http.client.HTTPConnection(server.address, timeout=30)) as connection:
        connection.request("POST", "/developer/app.git/git-upload-pack", body, headers)
        return connection.getresponse().read()


def test_who_has_no_right_gets_nothing(server: Server, work: Path, tmp_path: Path) -> None:
    seat = grant(server, SEAT, "clone/a")
    server.fresh("other")
    reads = ("ls-remote", "--exit-code")
    assert "could not read Username" in git(tmp_path, *reads, server.url(None), fails=True)
    assert "Authentication failed" in git(tmp_path, *reads, server.url(GitAccess(seat.user, "0" * 40)), fails=True)
    assert "Authentication failed" in git(tmp_path, *reads, server.url(GitAccess("developer", seat.token)), fails=True)
    for repository in ("other", "nothing", "..%2fapp", "../../git"):
        assert "not found" in git(tmp_path, *reads, server.url(seat, repository), fails=True), repository
    assert "not found" in git(work, "push", server.url(seat, "other"), "main:clone/a", fails=True)

    # A new grant ends the old token; a revoked seat has none.
    again = server.forge.grant_seat("app", SEAT, "clone/a")
    assert "Authentication failed" in git(tmp_path, *reads, server.url(seat), fails=True)
    git(tmp_path, *reads, server.url(again))
    assert server.forge.revoke_seat(SEAT) is True
    assert server.forge.revoke_seat(SEAT) is False
    assert "Authentication failed" in git(tmp_path, *reads, server.url(again), fails=True)
    assert "clone/a" in heads(server)


def test_twenty_seats_push_at_once(server: Server, work: Path) -> None:
    ids = [f"{number:012x}" for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        seats = list(pool.map(lambda id: grant(server, id, f"clone/seat-{id}"), ids))
        tree = git(work, "rev-parse", "HEAD^{tree}")
        commits = [git(work, "commit-tree", tree, "-p", "main", "-m", id) for id in ids]

        def push(number: int) -> None:
            git(
                work,
                "push",
                "--quiet",
                server.url(seats[number]),
                f"{commits[number]}:refs/heads/clone/seat-{ids[number]}",
            )

        list(pool.map(push, range(20)))
    found = heads(server)
    assert {found[f"clone/seat-{id}"] for id in ids} == set(commits)
    for id in ids:
        server.forge.revoke_seat(id)


def test_large_pushes(server: Server, work: Path, tmp_path: Path) -> None:
    seat = grant(server, SEAT, "clone/a")
    # In pieces, without a length, as git sends what is larger than this.
    pieces = ("-c", "http.postBuffer=65536", "push", "--quiet", server.url(seat), "HEAD:clone/a")
    whole = os.urandom(LIMIT // 2)
    commit(work, "large.bin", whole)
    git(work, *pieces)
    git(tmp_path, "clone", "--quiet", "--branch", "clone/a", server.url(seat), "copy")
    assert (tmp_path / "copy/large.bin").read_bytes() == whole
    before = heads(server)
    commit(work, "larger.bin", os.urandom(LIMIT))
    git(work, *pieces, fails=True)
    assert "413" in git(
        work,
        "push",
        server.url(seat),
        "HEAD:clone/a",
        fails=True,
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0="http.postBuffer",
        GIT_CONFIG_VALUE_0=str(LIMIT * 4),
    )
    assert heads(server) == before
    repository = server.forge.repository("app")
    assert repository is not None and repository.size > LIMIT // 2 // 1024


def endless(work: Path, size: int) -> str:
    """A commit on top of HEAD whose first line has so many characters."""
    head, tree = git(work, "rev-parse", "HEAD"), git(work, "rev-parse", "HEAD^{tree}")
    person = "a <a@b> 1700000000 +0000"
    text = f"tree {tree}\nparent {head}\nauthor {person}\ncommitter {person}\n\n{'A' * size}\n"
    command = ["git", "hash-object", "-w", "-t", "commit", "--stdin"]
    return subprocess.run(command, cwd=work, input=text, text=True, capture_output=True, check=True).stdout.strip()


def test_what_a_push_may_bring(server: Server, work: Path) -> None:
    seat, before = grant(server, SEAT, "clone/a"), heads(server)
    said = git(work, "push", server.url(seat), f"{endless(work, 20 * MIB)}:refs/heads/clone/a", fails=True)
    assert "remote: The commit" in said and "has 20.0 MiB and may have 1.0 MiB" in said
    commit(work, "zeros.bin", bytes(101 * MIB))
    said = git(work, "push", server.url(seat), "HEAD:clone/a", fails=True)
    assert "remote: The file 'zeros.bin' has 101.0 MiB and may have 100.0 MiB." in said
    assert heads(server) == before
    # The commit of a git that lacks memory fails alone.
    git(work, "reset", "--quiet", "--hard", "HEAD~1")
    git(work, "push", server.url(seat), f"{endless(work, 330 * MIB)}:refs/heads/clone/a", fails=True)
    assert heads(server) == before
    assert server.container.attrs["RestartCount"] == 0
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")


def test_it_is_back_with_everything_after_a_kill(server: Server, work: Path) -> None:
    seat, before = grant(server, SEAT, "clone/a"), heads(server)
    server.container.kill()
    with pytest.raises(AtelierError) as error:
        server.forge.repositories()
    assert error.value.code is Code.SERVICE_UNAVAILABLE
    assert "unable to access" in git(work, "push", server.url(seat), "HEAD:clone/a", fails=True)
    server.container.start()
    eventually(lambda: answers(server.forge), "the git service answers again")
    assert heads(server) == before
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")


@contextmanager
def begun(server: Server, seat: GitAccess, *pieces: bytes, length: int = 0) -> Iterator[http.client.HTTPConnection]:
    """A push of which so much was sent; the rest of it is not, unless ``length`` is all of it."""
    login = base64.b64encode(f"{seat.user}:{seat.token}".encode()).decode()
    with closing(http.client.HTTPConnection(server.address, timeout=60)) as connection:
        connection.putrequest("POST", "/developer/app.git/git-receive-pack")
        connection.putheader("Authorization", f"Basic {login}")
        connection.putheader("Content-Type", "application/x-git-receive-pack-request")
        connection.putheader("Content-Length", str(length or LIMIT))
        connection.endheaders()
        for piece in pieces:
            connection.send(piece)
        yield connection


def push_body(work: Path, branch: str, old: str) -> bytes:
    """The body that git sends to move a branch to HEAD."""
    new = git(work, "rev-parse", "HEAD")
    line = f"{old} {new} refs/heads/{branch}\0 report-status"
    command = ["git", "pack-objects", "--stdout", "--revs", "-q"]
    pack = subprocess.run(command, cwd=work, input=f"{new}\n^{old}\n".encode(), capture_output=True, check=True).stdout
    return f"{len(line) + 4:04x}{line}0000".encode() + pack


def leftovers(server: Server) -> list[str]:
    """The incomplete files on the server's disk."""
    data = server.installation.state / "git/data"
    patterns = ("repositories/*/objects/tmp_*", "repositories/*/**/*.lock", "repositories/*/objects/pack/tmp_*")
    found = [path for pattern in (*patterns, "incoming/*") for path in data.glob(pattern)]
    return sorted(str(path.relative_to(data)) for path in found)


def test_a_push_that_breaks_off_leaves_nothing(server: Server, work: Path) -> None:
    seat = grant(server, SEAT, "clone/a")
    before = heads(server)["clone/a"]
    commit(work, "large.bin", os.urandom(LIMIT // 2))
    body = push_body(work, "clone/a", before)
    # Half of it, silence, and then nothing; a pack that ends in the middle; one that nobody waits for.
    with begun(server, seat, body[: len(body) // 2]):
        pass
    cut = body[: len(body) // 2]
    with begun(server, seat, cut, length=len(cut)) as connection:
        assert connection.getresponse().read() is not None
    assert heads(server)["clone/a"] == before
    for _ in range(3):
        with begun(server, seat, body, length=len(body)):
            pass
    eventually(lambda: not leftovers(server), "nothing half-made is left")
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")
    assert heads(server)["clone/a"] == git(work, "rev-parse", "HEAD")

    # Killed in the middle of pushes, and of what git does for them.
    last = commit(work, "larger.bin", os.urandom(LIMIT // 2))
    body = push_body(work, "clone/a", git(work, "rev-parse", "HEAD~1"))
    with ExitStack() as stack:
        stack.enter_context(begun(server, seat, body[:-1000]))
        stack.enter_context(begun(server, seat, body, length=len(body)))
        eventually(lambda: leftovers(server), "a push is half-made")
        server.container.kill()
    # What it might have been in the middle of, wherever it was.
    (repository,) = [
        path
        for path in (server.installation.state / "git/data/repositories").iterdir()
        if (path / "refs/heads/clone/a").exists()
    ]
    (repository / "refs/heads/clone/a.lock").touch()
    half = repository / "objects/tmp_objdir-incoming-x/pack/tmp_pack_x"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    for path in (half, half.parent, half.parent.parent):
        os.chown(path, repository.stat().st_uid, -1)
    server.container.start()
    eventually(lambda: answers(server.forge), "the git service answers again")
    assert leftovers(server) == []
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")
    assert heads(server)["clone/a"] == last


def test_a_seat_that_sends_slowly_keeps_nobody_waiting(server: Server, work: Path) -> None:
    """More pushes than there may be gits, none of which goes on; and more wrong passwords than can be tried at once."""
    slow, other = grant(server, SEAT, "clone/a"), grant(server, OTHER, "clone/b")
    commit(work, "b.txt", "b")
    with ExitStack() as stack:
        connections = [stack.enter_context(begun(server, slow, b"00")) for _ in range(40)]
        sockets = {connection.sock: connection for connection in connections}

        def answered() -> list[socket.socket] | None:
            found = select.select([*sockets], [], [], 0)[0]
            return found if len(found) >= 40 - 18 else None

        refused = eventually(answered, "the answers to those that are too many")
        assert [sockets[each].getresponse().status for each in refused] == [429] * (40 - 18)
        guesses = stack.enter_context(ThreadPoolExecutor(60))
        wrong = server.url(GitAccess("developer", "wrong"))
        tried = [guesses.submit(git, work, "ls-remote", wrong, fails=True) for _ in range(60)]
        git(work, "push", "--quiet", server.url(other), "HEAD:clone/b")
        waiting = [each for each in sockets if each not in refused]
        assert not select.select(waiting, [], [], 0)[0], "the push has waited for one of them to end"
        assert heads(server)["clone/b"] == git(work, "rev-parse", "HEAD")
        assert all("Authentication failed" in guess.result() for guess in tried)
    # Those who went are forgotten.
    git(work, "push", "--quiet", server.url(slow), "HEAD:clone/a")
