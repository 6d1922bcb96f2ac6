"""The client of the git server, against servers that are fine, slow, broken, or none at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import GitServer
from atelier.git import http
from atelier.git.client import Forge, open_forge
from atelier.git.http import Credentials
from atelier.git.repository import IfTaken, RepositorySpec, apply_repository, with_branches
from forge_server import PASSWORD, TOKEN, Reply, forge_server
from support import refused, site

RAW = {
    "name": "app",
    "full_name": "developer/app",
    "description": "An app",
    "private": False,
    "default_branch": "main",
    "empty": False,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "size": 12,
}
CREDENTIALS = Credentials("atelier-service", PASSWORD, TOKEN)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PAUSES", (0.0, 0.0))


def answering(*replies: Reply | None) -> Callable[[str, str, Any], Reply | None]:
    """One reply after the other; the last one again and again."""
    left = list(replies)
    return lambda method, path, body: left.pop(0) if len(left) > 1 else left[0]


def no_secret(error: AtelierError) -> None:
    said = f"{error} {error.details}"
    assert TOKEN not in said and PASSWORD not in said


def test_a_repository_is_read_with_the_addresses_that_people_use(tmp_path: Path) -> None:
    with forge_server(tmp_path, answering((200, RAW, {}))) as (git, seen):
        found = Forge(git, CREDENTIALS).repository("app")
    assert found is not None
    assert (found.web_url, found.clone_url) == (
        "http://localhost/git/developer/app",
        "http://localhost/git/developer/app.git",
    )
    assert seen == ["GET /api/v1/repos/developer/app token"]
    assert git.seat_url("app") == "http://git.internal:3000/git/developer/app.git"


def test_lists_are_read_to_their_end_whatever_the_server_calls_a_page(tmp_path: Path) -> None:
    names = [f"app-{number}" for number in range(7)]

    def reply(method: str, path: str, body: Any) -> Reply:
        page = int(path.partition("page=")[2].partition("&")[0])
        return 200, [{**RAW, "name": name} for name in names[(page - 1) * 3 : page * 3]], {"X-Total-Count": "7"}

    with forge_server(tmp_path, reply) as (git, seen):
        assert [repository.name for repository in Forge(git, CREDENTIALS).repositories()] == names
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("replies", "code", "words"),
    [
        ([(500, {"message": f"panic: token={TOKEN} {PASSWORD}"}, {})], Code.GIT_ERROR, "500: panic"),
        (
            [(500, b"<html>Oops</html>", {"Content-Type": "text/html"})],
            Code.GIT_ERROR,
            "500: a body of the type text/html",
        ),
        ([(200, b"<html>Hello</html>", {"Content-Type": "text/html"})], Code.GIT_ERROR, "text/html, not JSON"),
        ([(401, {"message": "token is required"}, {})], Code.SERVICE_UNAVAILABLE, "rejects the credentials"),
        ([(403, {"message": "no"}, {})], Code.GIT_ERROR, "403: no"),
        ([(503, {"message": "starting"}, {})], Code.SERVICE_UNAVAILABLE, "503: starting"),
        ([None], Code.SERVICE_UNAVAILABLE, "does not answer"),
    ],
)
def test_what_goes_wrong_is_said_without_a_secret(
    tmp_path: Path, replies: list[Reply | None], code: Code, words: str
) -> None:
    with forge_server(tmp_path, answering(*replies)) as (git, _), pytest.raises(AtelierError) as error:
        Forge(git, CREDENTIALS, 5).repository("app")
    assert words in refused(error, code)
    no_secret(error.value)


def test_a_slow_server_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    released = threading.Event()

    def reply(method: str, path: str, body: Any) -> Reply:
        released.wait(30)
        return 200, RAW, {}

    with forge_server(tmp_path, reply) as (git, seen):
        with pytest.raises(AtelierError) as error:
            Forge(git, CREDENTIALS, 0.2).repository("app")
        released.set()
    assert "no answer within 0.2 seconds" in refused(error, Code.SERVICE_UNAVAILABLE)
    assert len(seen) == 1  # a slow server is not asked again


def test_a_server_that_comes_back_is_asked_again_unless_that_could_do_harm(tmp_path: Path) -> None:
    with forge_server(tmp_path, answering((502, b"", {}), None, (200, RAW, {}))) as (git, seen):
        assert Forge(git, CREDENTIALS).repository("app") is not None
    assert len(seen) == 3
    starting = answering((503, b"", {}))
    with forge_server(tmp_path, starting) as (git, seen), pytest.raises(AtelierError) as error:
        Forge(git, CREDENTIALS).create_repository("app")
    assert error.value.code is Code.SERVICE_UNAVAILABLE
    assert len(seen) == 1


def test_without_a_server_or_its_credentials(tmp_path: Path) -> None:
    with pytest.raises(AtelierError) as error:
        open_forge(site(tmp_path))
    refused(error, Code.SERVICE_UNAVAILABLE, "site.git")
    git = GitServer("embedded", "developer", tmp_path / "s", tmp_path / "c.json", 3000, "http://localhost/git")
    for content in (None, "{", '{"user": "developer"}', "[]"):
        if content is not None:
            git.credentials.write_text(content)
        with pytest.raises(AtelierError) as error:
            open_forge(replace(site(tmp_path), git=git))
        assert "./atelier up" in refused(error, Code.SERVICE_UNAVAILABLE, "site.git")
    git.credentials.write_text(json.dumps({"user": "developer", "password": PASSWORD, "token": TOKEN}))
    with pytest.raises(AtelierError) as error:
        open_forge(replace(site(tmp_path), git=git)).version()
    refused(error, Code.SERVICE_UNAVAILABLE)


def test_a_taken_name_gets_a_suffix_when_that_was_asked_for(tmp_path: Path) -> None:
    taken = {"app", "app-2"}

    def reply(method: str, path: str, body: Any) -> Reply:
        if path != "/api/v1/admin/users/developer/repos":
            return (200, [], {}) if method == "GET" else (201, {}, {})
        return (409, {"message": "exists"}, {}) if body["name"] in taken else (201, {**RAW, "name": body["name"]}, {})

    with forge_server(tmp_path, reply) as (git, _):
        forge = Forge(git, CREDENTIALS)
        assert forge.create_repository("app", suffix=True).name == "app-3"
        with pytest.raises(AtelierError) as error:
            forge.create_repository("app")
    assert "app" in refused(error, Code.REPOSITORY_EXISTS, "name")


def test_a_server_that_fails_to_create(tmp_path: Path) -> None:
    full = answering((500, {"message": "disk full"}, {}))
    with forge_server(tmp_path, full) as (git, _), pytest.raises(AtelierError) as error:
        Forge(git, CREDENTIALS).create_repository("app")
    assert "disk full" in refused(error, Code.GIT_REPO_CREATE_FAILED, "name")


def test_a_seat_is_granted_in_the_order_that_forgejo_needs(tmp_path: Path) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        if path.endswith("/tokens?limit=50"):
            return 200, [{"id": 4}, {"id": 5}], {}
        if method == "POST" and path.endswith("/users"):
            return 422, {"message": "user already exists"}, {}
        if path.endswith("/tokens"):
            return 201, {"sha1": "fresh"}, {}
        if method == "POST":
            return 403, {"message": "Branch protection already exist"}, {}
        return (204, None, {}) if method in ("PUT", "DELETE") else (200, {}, {})

    with forge_server(tmp_path, reply) as (git, seen):
        credential = Forge(git, CREDENTIALS).grant_seat("app", "0123456789ab", "clone/app-1")
    assert (credential.user, credential.token) == ("seat-0123456789ab", "fresh")
    assert "fresh" not in repr(credential)
    user, repository = "/api/v1/users/seat-0123456789ab", "/api/v1/repos/developer/app"
    assert seen == [
        "POST /api/v1/admin/users token",
        f"GET {user} token",
        f"PUT {repository}/collaborators/seat-0123456789ab token",
        f"GET {repository}/branch_protections/%2A%2A token",
        f"POST {repository}/branch_protections token",
        f"PATCH {repository}/branch_protections/clone%2Fapp-1 token",
        f"GET {user}/tokens?limit=50 Basic",
        f"POST {user}/tokens Basic",
        f"DELETE {user}/tokens/4 Basic",
        f"DELETE {user}/tokens/5 Basic",
    ]


def test_a_branch_is_not_taken_for_there_because_something_else_is(tmp_path: Path) -> None:
    """409 says both of Forgejo: that it exists, and that a tag or the branch of a part of its name does."""

    def reply(method: str, path: str, body: Any) -> Reply:
        if method == "GET":
            # That one only: a list of all is as long as others make it.
            assert "/branches/" in path
            return (200, {"name": "group"}, {}) if path.endswith("/group") else (404, {"message": "no"}, {})
        return 409, {"message": "The branch group already exists."}, {}

    with forge_server(tmp_path, reply) as (git, _):
        assert Forge(git, CREDENTIALS).ensure_branch("app", "group") is False
        with pytest.raises(AtelierError) as error:
            Forge(git, CREDENTIALS).ensure_branch("app", "group/a")
    assert "cannot be created: The branch group already exists." in refused(error, Code.GIT_ERROR, "branch")


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("present", "wanted", "field"),
    [
        ([], RepositorySpec("app", branches=("x",)), "branches"),
        (["other"], RepositorySpec("app", branches=("x",)), "branches"),
        (["main"], RepositorySpec("app", branches=("x",), default_branch="y"), "default_branch"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_made(
    tmp_path: Path, present: list[str], wanted: RepositorySpec, field: str, check_mode: bool
) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        assert method == "GET"
        branches = [{"name": name, "commit": {"id": "1" * 40}} for name in present]
        return (200, branches, {"X-Total-Count": str(len(branches))}) if "branches" in path else (200, RAW, {})

    with forge_server(tmp_path, reply) as (git, _), pytest.raises(AtelierError) as error:
        apply_repository(Forge(git, CREDENTIALS), wanted, check_mode=check_mode)
    refused(error, Code.VALIDATION_ERROR, field)


def test_check_mode_tells_and_changes_nothing(tmp_path: Path) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        assert method == "GET"
        if "branches" in path:
            return 200, [{"name": "main", "commit": {"id": "1" * 40}}], {"X-Total-Count": "1"}
        return (404, {"message": "no"}, {}) if path.endswith(("new", "app-2")) else (200, RAW, {})

    with forge_server(tmp_path, reply) as (git, _):
        forge = Forge(git, CREDENTIALS)
        same = apply_repository(forge, RepositorySpec("app", description="An app", branches=("main",)), check_mode=True)
        other = apply_repository(forge, RepositorySpec("app", private=True, branches=("clone/x",)), check_mode=True)
        new = apply_repository(forge, RepositorySpec("new"), check_mode=True)
        second = apply_repository(forge, RepositorySpec("app", if_taken=IfTaken.SUFFIX), check_mode=True)
        gone = apply_repository(forge, RepositorySpec("app", present=False), check_mode=True)
        with pytest.raises(AtelierError) as error:
            apply_repository(forge, RepositorySpec("app", if_taken=IfTaken.FAIL), check_mode=True)
    refused(error, Code.REPOSITORY_EXISTS, "name")
    assert not same.changed and same.before == same.after
    assert other.changed and (other.after["private"], other.after["branches"]) == (True, ["clone/x", "main"])
    assert new.changed and new.before == {} and new.after["name"] == "new"
    assert second.after["name"] == "app-2"
    assert gone.changed and gone.after == {} and gone.before["description"] == "An app"


def test_a_list_goes_on_without_what_is_damaged_or_gone(tmp_path: Path) -> None:
    raws = [{"name": name, "empty": name == "empty"} for name in ("broken", "empty", "gone", "odd", "whole")]
    branch = {"name": "main", "commit": {"id": "1"}}
    replies: dict[str, Reply] = {
        "/api/v1/users/developer/repos": (200, raws, {"X-Total-Count": "5"}),
        "/api/v1/repos/developer/broken/branches": (500, {"message": "fatal: bad object"}, {}),
        "/api/v1/repos/developer/broken": (500, {"message": "fatal: bad object"}, {}),
        "/api/v1/repos/developer/gone/branches": (404, {"message": "not found"}, {}),
        "/api/v1/repos/developer/gone": (404, {"message": "not found"}, {}),
        "/api/v1/repos/developer/odd/branches": (200, [{"name": "main", "commit": None}], {"X-Total-Count": "1"}),
        "/api/v1/repos/developer/odd": (200, raws[3], {}),
        "/api/v1/repos/developer/whole/branches": (200, [branch], {"X-Total-Count": "1"}),
    }

    def reply(method: str, path: str, body: Any) -> Reply | None:
        return replies.get(path.partition("?")[0])

    with forge_server(tmp_path, reply) as (git, _):
        forge = Forge(git, CREDENTIALS, 5)
        listed = [with_branches(forge, repository) for repository in forge.repositories()]
        assert [entry and (entry.repository.name, entry.branches) for entry in listed] == [
            ("broken", ()),
            ("empty", ()),
            None,
            ("odd", ()),
            ("whole", ("main",)),
        ]
        problems = [entry.problem for entry in listed if entry]
        assert [problem is None for problem in problems] == [False, True, False, True]
        assert "fatal: bad object" in str(problems[0]) and "is invalid" in str(problems[2])
        # A server that is away is no property of one repository.
        del replies["/api/v1/repos/developer/whole/branches"]
        with pytest.raises(AtelierError) as error:
            with_branches(forge, forge.repositories()[4])
        refused(error, Code.SERVICE_UNAVAILABLE)


@pytest.mark.parametrize("said", [{}, [], "x", 7, {"name": None}])
def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path, said: Any) -> None:
    with forge_server(tmp_path, answering((200, said, {}))) as (git, _):
        forge = Forge(git, CREDENTIALS, 5)
        for ask in (lambda: forge.repository("app"), forge.version):
            with pytest.raises(AtelierError) as error:
                ask()
            assert "is invalid" in refused(error, Code.GIT_ERROR)


def test_one_repository_that_answers_endlessly_is_a_problem_of_its_own(tmp_path: Path) -> None:
    """A commit with an endless message makes Forgejo answer like that."""

    def reply(method: str, path: str, body: Any) -> Reply:
        if "branches" in path:
            size = 20_000_000 if "odd" in path else 1
            return 200, [{"name": "main", "commit": {"id": "1" * 40, "message": "A" * size}}], {"X-Total-Count": "1"}
        return 200, [{**RAW, "name": name} for name in ("app", "odd")], {"X-Total-Count": "2"}

    with forge_server(tmp_path, reply) as (git, _):
        forge = Forge(git, CREDENTIALS)
        listed = [with_branches(forge, repository) for repository in forge.repositories()]
    assert [entry and entry.branches for entry in listed] == [("main",), ()]
    assert listed[1] and "too large" in str(listed[1].problem)
