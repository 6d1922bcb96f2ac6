"""Responses of the embedded git service beyond the shapes that Forgejo documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atelier.git.http import ForgeApi, read_credentials

from tests.module.git_container import SEAT, Server, grant

TEXT, NUMBER, FLAG, LIST, TIME = str, int, bool, list, "time"

# What Forgejo's API document (templates/swagger/v1_json.tmpl, the definitions APIError, AccessToken, Branch,
# BranchProtection, Repository and User) says of these. Names and types were compared with it one by one on 2026-11-27.
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
