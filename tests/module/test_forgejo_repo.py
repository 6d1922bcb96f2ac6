"""The embedded git service as its role runs it: real git clients clone and push, the module makes repositories."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from atelier.errors import AtelierError, Code
from atelier.forge import Credential, Forge
from atelier.forge_http import ForgeApi, read_credentials
from atelier.model import GitServer
from conftest import ENGINE_URL, NETWORK, TEST_HALF
from git_client import commit, git, new_repository, relay
from installation import Installation, eventually

LIMIT = 12 * 1024**2
SEAT, OTHER, TEACHER = "0123456789ab", "0123456789ac", "0123456789ad"
TEXT, NUMBER, FLAG, LIST, TIME = str, int, bool, list, "time"

# What Forgejo's swagger says of these, as far as anybody who knows Forgejo would look.
USER = {"id": NUMBER, "login": TEXT, "email": TEXT, "is_admin": FLAG, "created": TIME, "restricted": FLAG}
REPOSITORY = {
    "id": NUMBER,
    "owner": USER,
    "name": TEXT,
    "full_name": TEXT,
    "description": TEXT,
    "empty": FLAG,
    "private": FLAG,
    "fork": FLAG,
    "template": FLAG,
    "mirror": FLAG,
    "size": NUMBER,
    "html_url": TEXT,
    "url": TEXT,
    "clone_url": TEXT,
    "ssh_url": TEXT,
    "default_branch": TEXT,
    "archived": FLAG,
    "created_at": TIME,
    "updated_at": TIME,
    "permissions": {"admin": FLAG, "push": FLAG, "pull": FLAG},
    "topics": LIST,
    "open_issues_count": NUMBER,
    "has_pull_requests": FLAG,
    "object_format_name": TEXT,
}
BRANCH = {
    "name": TEXT,
    "protected": FLAG,
    "required_approvals": NUMBER,
    "user_can_push": FLAG,
    "user_can_merge": FLAG,
    "effective_branch_protection_name": TEXT,
    "status_check_contexts": LIST,
    "commit": {"id": TEXT, "message": TEXT, "url": TEXT, "timestamp": TIME, "author": {"name": TEXT, "email": TEXT}},
}
PROTECTION = {
    "branch_name": TEXT,
    "rule_name": TEXT,
    "enable_push": FLAG,
    "enable_push_whitelist": FLAG,
    "push_whitelist_usernames": LIST,
    "push_whitelist_teams": LIST,
    "required_approvals": NUMBER,
    "protected_file_patterns": TEXT,
    "created_at": TIME,
    "updated_at": TIME,
}
TAG_PROTECTION = {"id": NUMBER, "name_pattern": TEXT, "whitelist_usernames": LIST, "created_at": TIME}
TOKEN = {"id": NUMBER, "name": TEXT, "sha1": TEXT, "token_last_eight": TEXT, "scopes": LIST}
ERROR = {"message": TEXT, "url": TEXT}


@dataclass
class Server:
    """The running service, its client as the owner, and how git reaches it."""

    installation: Installation
    git: GitServer
    forge: Forge
    address: str

    def url(self, credential: Credential | None, repository: str = "app") -> str:
        login = f"{credential.user}:{credential.token}@" if credential else ""
        return f"http://{login}{self.address}/developer/{repository}.git"

    @property
    def container(self) -> Any:
        return self.installation.docker.containers.get(f"{self.installation.name}-git")

    def fresh(self, name: str) -> None:
        """An empty repository."""
        self.forge.delete_repository(name)
        self.forge.create_repository(name)


@pytest.fixture(scope="module")
def server(engine: Any) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="atelier-test-git-"))
    images = {"atelier_image_prefix": "atelier", "atelier_git_service_max_push_bytes": LIMIT}
    installation = Installation("atelier-test-git", folder, TEST_HALF, NETWORK, ENGINE_URL, **images)
    playbook = folder / "git.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "roles": ["git_service"]}]))
    installation.play(playbook).succeeded()
    state = installation.state
    found = GitServer(
        "embedded",
        "developer",
        state / "gateway" / "git" / "http.sock",
        state / "git" / "credentials.json",
        3000,
        "http://localhost/git",
    )
    with relay(found.socket) as address:
        yield Server(installation, found, Forge(found, read_credentials(found)), address)
    installation.remove()


@pytest.fixture
def work(tmp_path: Path, server: Server) -> Path:
    """A working copy whose main was pushed to a fresh repository ``app``, by the base's seat."""
    server.fresh("app")
    folder = new_repository(tmp_path / "work")
    commit(folder, "a.txt", "a\n")
    teacher = server.forge.grant_seat("app", TEACHER, "main")
    git(folder, "push", "--quiet", server.url(teacher), "main")
    return folder


def grant(server: Server, workspace_id: str, branch: str) -> Credential:
    credential = server.forge.grant_seat("app", workspace_id, branch)
    server.forge.ensure_branch("app", branch)
    return credential


def heads(server: Server) -> dict[str, str]:
    return {branch.name: branch.commit for branch in server.forge.branches("app")}


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


def ask_for(server: Server, seat: Credential, commit: str, protocol: str | None = None) -> bytes:
    """What a client that knows no manners gets for a commit's number."""

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
    assert "Authentication failed" in git(tmp_path, *reads, server.url(Credential(seat.user, "0" * 40)), fails=True)
    assert "Authentication failed" in git(tmp_path, *reads, server.url(Credential("developer", seat.token)), fails=True)
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
    assert server.forge.repository("app").size > LIMIT // 2 // 1024  # type: ignore[union-attr]


def test_it_is_back_with_everything_after_a_kill(server: Server, work: Path) -> None:
    seat, before = grant(server, SEAT, "clone/a"), heads(server)
    server.container.kill()
    with pytest.raises(AtelierError) as error:
        server.forge.repositories()
    assert error.value.code is Code.SERVICE_UNAVAILABLE
    assert "unable to access" in git(work, "push", server.url(seat), "HEAD:clone/a", fails=True)
    server.container.start()
    eventually(lambda: _answers(server.forge), "the git service answers again")
    assert heads(server) == before
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")


@contextmanager
def begun(server: Server, seat: Credential, *pieces: bytes, length: int = 0) -> Iterator[http.client.HTTPConnection]:
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
    """What git sends to move a branch to HEAD."""
    new = git(work, "rev-parse", "HEAD")
    line = f"{old} {new} refs/heads/{branch}\0 report-status"
    command = ["git", "pack-objects", "--stdout", "--revs", "-q"]
    pack = subprocess.run(command, cwd=work, input=f"{new}\n^{old}\n".encode(), capture_output=True, check=True).stdout
    return f"{len(line) + 4:04x}{line}0000".encode() + pack


def leftovers(server: Server) -> list[str]:
    """What is half-made on the server's disk."""
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
        time.sleep(0.15)
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
    eventually(lambda: _answers(server.forge), "the git service answers again")
    assert leftovers(server) == []
    git(work, "push", "--quiet", server.url(seat), "HEAD:clone/a")
    assert heads(server)["clone/a"] == last


def test_a_seat_that_sends_slowly_keeps_nobody_waiting(server: Server, work: Path) -> None:
    """More pushes than there may be gits, none of which goes on; and more wrong passwords than can be tried at once."""
    slow, other = grant(server, SEAT, "clone/a"), grant(server, OTHER, "clone/b")
    commit(work, "b.txt", "b")
    with ExitStack() as stack:
        connections = [stack.enter_context(begun(server, slow, b"00")) for _ in range(40)]
        refused = 0
        for connection in connections:
            connection.sock.settimeout(0.1)
            with suppress(TimeoutError):
                refused += connection.getresponse().status == 429
        assert refused == 40 - 18
        guesses = stack.enter_context(ThreadPoolExecutor(60))
        wrong = server.url(Credential("developer", "wrong"))
        tried = [guesses.submit(git, work, "ls-remote", wrong, fails=True) for _ in range(60)]
        begin = time.monotonic()
        git(work, "push", "--quiet", server.url(other), "HEAD:clone/b")
        assert time.monotonic() - begin < 10
        assert heads(server)["clone/b"] == git(work, "rev-parse", "HEAD")
        assert all("Authentication failed" in guess.result() for guess in tried)
    # Those who went are forgotten.
    git(work, "push", "--quiet", server.url(slow), "HEAD:clone/a")


def _answers(forge: Forge) -> bool:
    try:
        return bool(forge.version())
    except AtelierError:
        return False


def test_answers_have_the_shapes_that_forgejo_documents(server: Server, work: Path) -> None:
    grant(server, SEAT, "clone/a")
    api = ForgeApi(server.git, read_credentials(server.git), 20)

    def get(path: str, status: int = 200, *, basic: bool = False) -> Any:
        return api.request("GET", path, accept=(status,), basic=basic).json

    app, user = "/repos/developer/app", f"/users/seat-{SEAT}"
    has_shape(get("/version"), {"version": TEXT})
    has_shape(get("/user"), USER)
    has_shape(get(user), USER)
    has_shape(get(app), REPOSITORY)
    has_shape(get("/users/developer/repos"), [REPOSITORY])
    has_shape(get(f"{app}/branches"), [BRANCH])
    has_shape(get(f"{app}/branches/clone/a"), BRANCH)
    has_shape(get(f"{app}/branch_protections"), [PROTECTION])
    has_shape(get(f"{app}/tag_protections"), [TAG_PROTECTION])
    has_shape(get(f"{app}/collaborators"), [USER])
    has_shape(get(f"{user}/tokens", basic=True), [TOKEN])
    for path, status in (("/repos/developer/nothing", 404), ("/nothing", 404), (f"{user}/tokens", 401)):
        has_shape(get(path, status), ERROR)
    for body, status in (({"name": "app"}, 409), ({"name": "a b"}, 422), ({"name": "x.git"}, 422)):
        has_shape(api.request("POST", "/admin/users/developer/repos", body, accept=(status,)).json, ERROR)


def has_shape(found: Any, shape: Any, where: str = "") -> None:
    if isinstance(shape, dict):
        for key, inner in shape.items():
            assert key in found, f"{where}.{key} is missing"
            has_shape(found[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(found, list) and found, where
        for entry in found:
            has_shape(entry, shape[0], f"{where}[]")
    elif shape == TIME:
        assert isinstance(found, str) and found[10] == "T" and len(found) >= 20, f"{where}: {found!r}"
    else:
        assert type(found) is shape, f"{where}: {found!r}"


# --- The module -------------------------------------------------------------------------------------------------------


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
        ({"name": "app", "default_branch": "nowhere"}, "VALIDATION_ERROR", ""),
        ({"name": "brand-new", "branches": ["x"]}, "VALIDATION_ERROR", "branches"),
        ({"name": "app", "if_taken": "fail"}, "REPOSITORY_EXISTS", "name"),
        ({"name": "app", "site": "{{ atelier_site | combine({'git': none}) }}"}, "SERVICE_UNAVAILABLE", "site.git"),
    ]
    results = server.installation.failures("forgejo_repo", [order for order, _, _ in orders])
    for (order, code, field), result in zip(orders, results, strict=True):
        assert (result["error_code"], result["details"].get("field", "")) == (code, field), (order, result["msg"])
        assert result["details"]["remedy"] in result["msg"]
