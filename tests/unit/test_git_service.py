"""The embedded git service's part of Forgejo's API, without a network; clones and pushes are in tests/module."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from atelier_git.credentials import renew
from atelier_git.endpoints.slots import Slots
from atelier_git.settings import load
from atelier_git.store import Store
from git_app import APP, PASSWORD, REPOSITORIES, Server, refused
from starlette.exceptions import HTTPException

from tests.waiting import reached

Ask = Callable[..., httpx.Response]
KINDS = ("branch_protections", "tag_protections")
LISTED = "/api/v1/users/developer/repos"


def test_nobody_is_told_anything_without_authentication(app: Server) -> None:
    everywhere = ["/api/v1/version", "/api/v1/nothing", APP, f"{APP}/branches", "/api/v1/user", LISTED]
    for path in everywhere:
        answer = app("GET", path, headers={})
        refused(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic")
    for path in ("/developer/app.git/info/refs?service=git-upload-pack", "/developer/app", "/", "/x/y/z"):
        assert app("GET", path, headers={}).status_code == 401, path
    for header in ("token x", "Bearer", "Basic eA==", "Basic !", "Basic ZGV2ZWxvcGVyOg==", "Digest x", "Basic \xe9"):
        refused(app("GET", APP, headers=httpx.Headers([("Authorization", header)], "latin-1")), 401)
    assert app("GET", "/api/healthz", headers={}).json()["status"] == "pass"


def test_what_a_stranger_asks_for_writes_one_plain_line_into_the_log(
    app: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "atelier_git")
    assert app("GET", "/a%1B%5B2J%0Aowner GET /made-up 200/%C2%9B%E2%80%AEx/info/refs", headers={}).status_code == 401
    (line,) = [record.getMessage() for record in caplog.records if record.name == "atelier_git"]
    assert line.isascii() and line.isprintable(), line
    assert line.startswith("- GET /a%1B%5B2J%0Aowner%20GET%20/made-up%20200/")


def test_every_way_to_authenticate(app: Server) -> None:
    token = app.service["token"]
    for header in (f"token {token}", f"Token {token}", f"Bearer {token}"):
        assert app("GET", APP, headers={"Authorization": header}).status_code == 200
    for pair in (app.password, ("DEVELOPER", app.owner["password"]), ("atelier-service", token)):
        assert app("GET", APP, headers={}, auth=pair).status_code == 200
    for pair in (("somebody", token), ("developer", "wrong"), ("nobody", "wrong")):
        refused(app("GET", APP, headers={}, auth=pair), 401)


def test_new_credentials_end_the_old_ones(app: Server) -> None:
    store = Store(app.settings.database)
    new = renew(store, "developer", "atelier-service")
    store.close()
    refused(app("GET", APP), 401)
    for old in (app.owner, app.service):
        refused(app("GET", APP, headers={}, auth=(old["user"], old["password"])), 401)
    assert app("GET", APP, headers={"Authorization": f"token {new['service']['token']}"}).status_code == 200
    for account in new.values():
        assert app("GET", APP, headers={}, auth=(account["user"], account["password"])).status_code == 200


def test_another_owner_is_the_only_one(app: Server) -> None:
    store = Store(app.settings.database)
    new = renew(store, "alice", "atelier-service")
    refused(app("GET", APP, headers={}, auth=app.password), 401)
    token = {"Authorization": f"token {new['service']['token']}"}
    assert app("GET", "/api/v1/users/developer", headers=token).json()["is_admin"] is False
    # What was the old one's is there, and its account is its own again when it is asked for.
    assert app("GET", APP, headers={}, auth=("alice", new["admin"]["password"])).status_code == 200
    again = renew(store, "developer", "atelier-service")
    assert app("GET", APP, headers={}, auth=("developer", again["admin"]["password"])).status_code == 200
    refused(app("GET", APP, headers={}, auth=("alice", new["admin"]["password"])), 401)
    store.close()


def test_a_service_account_that_comes_later_may_push_what_the_owner_may(app: Server) -> None:
    rule = {"rule_name": "**", "enable_push": True, "enable_push_whitelist": True}
    app("POST", f"{APP}/branch_protections", {**rule, "push_whitelist_usernames": ["developer"]})
    app("POST", f"{APP}/tag_protections", {"name_pattern": "*", "whitelist_usernames": ["developer"]})
    store = Store(app.settings.database)
    token = renew(store, "developer", "atelier-service")["service"]["token"]
    store.close()
    found = [app("GET", f"{APP}/{kind}", headers={"Authorization": f"token {token}"}).json() for kind in KINDS]
    assert found[0][0]["push_whitelist_usernames"] == ["developer", "atelier-service"]
    assert found[1][0]["whitelist_usernames"] == ["developer"]


def test_repositories_come_and_go(server: Server) -> None:
    assert server("GET", APP).status_code == 404
    body = {"name": "app", "description": "An app", "private": True, "default_branch": "trunk"}
    made = server("POST", REPOSITORIES, body).json()
    assert (made["full_name"], made["description"], made["private"], made["default_branch"], made["empty"]) == (
        *("developer/app", "An app", True, "trunk"),
        True,
    )
    refused(server("POST", REPOSITORIES, {"name": "APP"}), 409, "already exists")
    assert server("GET", "/api/v1/repos/Developer/APP").json()["id"] == made["id"]
    changed = server("PATCH", APP, {"description": "", "private": False}).json()
    assert (changed["description"], changed["private"], changed["default_branch"]) == ("", False, "trunk")
    assert len(list(server.settings.repositories.iterdir())) == 1
    assert server("DELETE", APP).status_code == 204
    assert list(server.settings.repositories.iterdir()) == []
    refused(server("DELETE", APP), 404)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-", "a b", "../x", "a/b", "a..b", "x.git", "x.WIKI", "x" * 101, 7, None]
)
def test_bad_names(server: Server, name: Any) -> None:
    refused(server("POST", REPOSITORIES, {"name": name}), 422)
    assert list(server.settings.repositories.iterdir()) == []


def test_bad_bodies(app: Server) -> None:
    for body in ([], "x", {"name": "b", "private": "yes"}, {"name": "b", "description": "x" * 2049}):
        refused(app("POST", REPOSITORIES, body), 422)
    assert len(list(app.settings.repositories.iterdir())) == 1
    for content in (b"{", b'{"name": "b", "description": "\\ud800"}'):
        refused(app("POST", REPOSITORIES, None, content=content), 422, "not JSON")
    refused(app("POST", REPOSITORIES, None, content=b" " * (1024**2 + 1)), 413)
    refused(app("PATCH", APP, {"default_branch": "a..b"}), 422)
    refused(app("POST", f"{APP}/branches", {"new_branch_name": "a..b"}), 422)
    refused(app("POST", f"{APP}/branches", {"new_branch_name": "a"}), 404)


def test_pages(server: Server) -> None:
    for number in range(5):
        server("POST", REPOSITORIES, {"name": f"r{number}"})
    page = server("GET", "/api/v1/users/developer/repos?page=2&limit=2")
    assert [repository["name"] for repository in page.json()] == ["r2", "r3"]
    assert page.headers["x-total-count"] == "5"
    links = dict(reversed(link.split("; ")) for link in page.headers["link"].split(","))
    path = "<http://localhost/git/api/v1/users/developer/repos"
    assert links == {
        'rel="next"': f"{path}?limit=2&page=3>",
        'rel="last"': f"{path}?limit=2&page=3>",
        'rel="first"': f"{path}?limit=2&page=1>",
        'rel="prev"': f"{path}?limit=2&page=1>",
    }
    assert len(server("GET", f"{LISTED}?limit=1000").json()) == 5
    assert server("GET", f"{LISTED}?page=9").json() == []
    assert len(server("GET", f"{LISTED}?page=-1&limit=x").json()) == 5


def test_a_seat_reads_its_repository_and_changes_nothing(app: Server) -> None:
    seat = app.seat()
    app("POST", REPOSITORIES, {"name": "other"})
    assert app("GET", APP, headers=seat).json()["permissions"] == {"admin": False, "push": True, "pull": True}
    refused(app("GET", "/api/v1/repos/developer/other", headers=seat), 404)
    assert [found["name"] for found in app("GET", "/api/v1/users/developer/repos", headers=seat).json()] == ["app"]
    for method, path, body in (
        ("PATCH", APP, {"description": "x"}),
        ("DELETE", APP, None),
        ("GET", f"{APP}/branch_protections", None),
        ("POST", f"{APP}/branch_protections", {"rule_name": "main"}),
        ("PUT", f"{APP}/collaborators/seat-0123456789ab", {"permission": "admin"}),
        ("POST", REPOSITORIES, {"name": "mine"}),
        ("POST", "/api/v1/admin/users", {"username": "x", "password": PASSWORD}),
        ("DELETE", "/api/v1/admin/users/seat-0123456789ab", None),
        ("GET", "/api/v1/user", None),
    ):
        refused(app(method, path, body, headers=seat), 403)
    # A token can't make tokens.
    refused(app("POST", "/api/v1/users/seat-0123456789ab/tokens", {"name": "u", "scopes": ["all"]}, headers=seat), 401)
    reader = app.seat("reader", ("read:repository",))
    assert app("GET", APP, headers=reader).status_code == 200
    refused(app("POST", f"{APP}/branches", {"new_branch_name": "x"}, headers=reader), 403, "scope")


def test_tokens_end_with_their_user(app: Server) -> None:
    seat = app.seat()
    tokens = app("GET", "/api/v1/users/seat-0123456789ab/tokens", headers={}, auth=app.password).json()
    assert [(token["name"], token["sha1"], token["scopes"]) for token in tokens] == [("t", "", ["write:repository"])]
    refused(app("POST", "/api/v1/admin/users", {"username": "Seat-0123456789AB", "password": PASSWORD}), 422)
    assert app("DELETE", "/api/v1/admin/users/seat-0123456789ab?purge=true").status_code == 204
    refused(app("GET", APP, headers=seat), 401)
    refused(app("DELETE", "/api/v1/admin/users/seat-0123456789ab"), 404)
    refused(app("DELETE", "/api/v1/admin/users/developer"), 422)


def test_an_administrator_changes_passwords(app: Server) -> None:
    app.seat()
    user, said = "/api/v1/admin/users/seat-0123456789ab", {"source_id": 0, "login_name": "seat-0123456789ab"}
    new = PASSWORD[::-1]
    refused(app("PATCH", user, {"password": new}), 422, "LoginName")
    refused(app("PATCH", user, {**said, "password": new[:31]}), 422, "32 characters")
    assert app("PATCH", user, {**said, "password": new}).json()["is_admin"] is False
    assert app("GET", APP, headers={}, auth=("seat-0123456789ab", new)).status_code == 200
    refused(app("GET", APP, headers={}, auth=("seat-0123456789ab", PASSWORD)), 401)
    assert app("PATCH", user, {**said, "admin": True}).json()["is_admin"] is True


def test_protections(app: Server) -> None:
    app.seat()
    rules = f"{APP}/branch_protections"
    body = {"rule_name": "clone/a", "enable_push": True, "enable_push_whitelist": True}
    made = app("POST", rules, {**body, "push_whitelist_usernames": ["seat-0123456789ab"]})
    assert made.status_code == 201
    assert made.json()["push_whitelist_usernames"] == ["seat-0123456789ab"]
    refused(app("POST", rules, body), 403, "already exist")
    refused(app("POST", rules, {**body, "rule_name": "x", "push_whitelist_usernames": ["nobody"]}), 422)
    refused(app("POST", rules, {**body, "rule_name": ""}), 422)
    changed = app("PATCH", f"{rules}/clone%2Fa", {"push_whitelist_usernames": ["developer"]}).json()
    assert (changed["push_whitelist_usernames"], changed["enable_push"]) == (["developer"], True)
    assert [rule["rule_name"] for rule in app("GET", rules).json()] == ["clone/a"]
    assert app("DELETE", f"{rules}/clone%2Fa").status_code == 204
    refused(app("GET", f"{rules}/clone%2Fa"), 404)


def test_addresses_that_lead_out_of_the_repositories(app: Server) -> None:
    for path in (
        "/developer/..%2f..%2fgit.sqlite3/info/refs?service=git-upload-pack",
        "/developer/%2e%2e/info/refs?service=git-upload-pack",
        "/developer/app.git/objects/info/packs",
        "/developer/app.git/HEAD",
        "/developer/app.git/config",
        "/developer/app.git/hooks/pre-receive",
    ):
        assert app("GET", path).status_code == 404, path
    assert app("GET", "/developer/app.git/info/refs").status_code == 403
    assert app("GET", "/developer/app.git/info/refs?service=git-upload-archive").status_code == 403
    assert app("POST", "/developer/app.git/git-receive-pack", None, content=b"x" * 1001).status_code == 413
    page = app("GET", "/developer/app")
    assert "git clone http://localhost/git/developer/app.git" in page.text


def test_settings_that_are_not_what_the_role_writes(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    for text in ("{", "{}", '{"owner": "x"}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"settings|Expecting"):
            load(file)


def test_a_seat_waits_for_its_own_requests_only(server: Server) -> None:
    slots = Slots(server.settings)

    async def run() -> list[str]:
        order: list[str] = []

        async def ask(seat: str | None, name: str, end: asyncio.Event) -> None:
            async with slots.of_seat(seat):
                order.append(name)
                await end.wait()

        end = asyncio.Event()
        slow = [asyncio.create_task(ask("a", f"a{number}", end)) for number in range(17)]
        await reached(lambda: order, "the first one is served")
        with pytest.raises(HTTPException) as error:
            await ask("a", "too many", end)
        assert error.value.status_code == 429
        others = [asyncio.create_task(ask(who, str(who), end)) for who in ("b", "c", None)]
        await reached(lambda: len(order) == 4, "one of each is served")
        begun = list(order)
        end.set()
        await asyncio.gather(*slow, *others)
        assert len(order) == 20
        return begun

    assert asyncio.run(run()) == ["a0", "b", "c", "None"]
    assert vars(slots)["_seats"] == {}
