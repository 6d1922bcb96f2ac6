"""Forgejo's API v1, as far as Atelier uses it: repositories and their branches. Users and rules are in admin.py.

Each function takes a Call and returns (status, body) or raises HTTPException. They run in threads.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from ..accounts import Caller
from ..repositories import git
from ..repositories.contents import size_of
from ..repositories.policy import HEADS, Pusher, Rule, covering, may_push, visible_branches
from ..settings import Settings
from ..store import Row, Store, Taken, now
from . import names, serializers
from .space import check_room

log = logging.getLogger("atelier_git")

Answer = tuple[int, Any]
MISSING = "The target couldn't be found."
_DESCRIPTION = 2048


@dataclass(frozen=True)
class Service:
    """``unnoted`` are repositories whose last push could not be written down, by id."""

    settings: Settings
    store: Store
    unnoted: set[int] = field(default_factory=set)

    def folder(self, repository: Row) -> Path:
        return self.settings.repositories / str(repository["folder"])


@dataclass(frozen=True)
class Call:
    """``path`` are the address's parameters, ``body`` the JSON object that was sent."""

    service: Service
    caller: Caller
    path: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.service.store

    def repository(self, *, least: str) -> Row:
        """The one of the address. Raises 404 for one that the caller may not even read, as for none; 403 for less than
        ``least``: read, write, owner."""
        found = self.store.repository(self.path["owner"], self.path["repository"])
        has = self.store.permission(found, self.caller.user) if found else None
        if found is None or has is None:
            raise HTTPException(404, MISSING)
        order = ("read", "write", "owner")
        if order.index(has) < order.index(least):
            raise HTTPException(403, f"The user should have the permission {least!r} on the repository.")
        self.need("repository", write=least != "read")
        return found

    def user(self, name: str | None = None) -> Row:
        """The one of this name, or of the address. Raises 404 if there is none."""
        found = self.store.user(name or self.path["user"])
        if found is None:
            raise HTTPException(404, MISSING)
        return found

    def need(self, category: str, *, write: bool) -> None:
        if not self.caller.may(category, write=write):
            raise HTTPException(403, "The token does not have the scope for this.")

    def need_administrator(self) -> None:
        if not self.caller.user["is_admin"]:
            raise HTTPException(403, "The user should be the site admin.")
        self.need("admin", write=True)

    def rights(self, repository: Row) -> Pusher:
        """The caller's rights on a repository. As in Forgejo: a rule allows the named users, owner and administrators
        included; without a list, everybody with write access."""
        user = self.caller.user

        def allows(rule: Mapping[str, Any]) -> bool:
            return bool(rule["enable_push"]) and (not rule["enable_whitelist"] or user["id"] in rule["users"])

        rules, tag_rules = (
            tuple(Rule(rule["pattern"], allows(rule)) for rule in self.store.protections(repository["id"], kind))
            for kind in ("branch", "tag")
        )
        may_write = self.store.permission(repository, user) in ("owner", "write")
        visible = visible_branches(rules, repository["default_branch"]) if user["restricted"] else None
        return Pusher(user["name"], may_write, rules, tag_rules, visible)

    def shown(self, row: Row) -> dict[str, Any]:
        permission = self.store.permission(row, self.caller.user)
        return serializers.repository(row, self.user(row["owner_name"]), permission, self.service.settings)

    def value(self, key: str, kind: type, default: Any = None) -> Any:
        """A value of the body; null counts as left out. Raises 422 for another type."""
        found = self.body.get(key)
        if found is None:
            return default
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise HTTPException(422, f"[{key}]: must be of the type {kind.__name__}")
        return found


def version(call: Call) -> Answer:
    return 200, {"version": call.service.settings.version}


def list_repositories(call: Call) -> Answer:
    """Lists the repositories of the user in the URL that the caller may read."""
    call.need("repository", write=False)
    rows = call.store.repositories_of(call.user()["id"])
    return 200, [call.shown(row) for row in rows if call.store.permission(row, call.caller.user)]


def create_repository(call: Call) -> Answer:
    """Creates a repository on behalf of the user in the URL."""
    call.need_administrator()
    name = call.value("name", str, "")
    if not names.is_repository(name):
        raise HTTPException(422, "[Name]: must be 1 to 100 letters, digits, hyphens, underscores or single dots")
    if names.is_reserved(name):
        raise HTTPException(422, f"name is reserved [name: {name}]")
    branch = call.value("default_branch", str, "") or "main"
    if not names.is_branch(branch):
        raise HTTPException(422, "[DefaultBranch]: is not a branch's name")
    if call.value("auto_init", bool, False):
        raise HTTPException(422, "[AutoInit]: repositories begin empty here")
    description, private = _description(call) or "", int(call.value("private", bool, False))
    owner, root, time = call.user(), call.service.settings.repositories, now()
    check_room(root)
    folder = git.create(root, branch)
    values = {
        "owner_id": owner["id"],
        "name": name,
        "lower_name": name.lower(),
        "folder": folder,
        "description": description,
        "private": private,
        "default_branch": branch,
        "empty": 1,
        "size": 0,
        "created_at": time,
        "updated_at": time,
    }
    try:
        call.store.insert("repositories", values)
    except BaseException as error:
        git.remove(root, folder)
        if isinstance(error, Taken):
            raise HTTPException(409, "The repository with the same name already exists.") from error
        raise
    made = call.store.repository(owner["name"], name)
    assert made is not None  # noqa: S101 - it was made just now
    return 201, call.shown(made)


def get_repository(call: Call) -> Answer:
    return 200, call.shown(call.repository(least="read"))


def edit_repository(call: Call) -> Answer:
    row = call.repository(least="owner")
    description, private = _description(call), call.value("private", bool)
    branch = call.value("default_branch", str)
    folder = call.service.folder(row)
    if branch is not None and branch != row["default_branch"]:
        if not names.is_branch(branch) or (not row["empty"] and git.branch(folder, branch) is None):
            raise HTTPException(422, f"[DefaultBranch]: there is no branch {branch[:100]!r}")
        git.set_default_branch(folder, branch)
    call.store.run(
        "UPDATE repositories SET description = ?, private = ?, default_branch = ?, updated_at = ? WHERE id = ?",
        row["description"] if description is None else description,
        row["private"] if private is None else int(private),
        branch or row["default_branch"],
        now(),
        row["id"],
    )
    return 200, call.shown(call.repository(least="owner"))


def delete_repository(call: Call) -> Answer:
    row = call.repository(least="owner")
    call.store.run("DELETE FROM repositories WHERE id = ?", row["id"])
    git.remove(call.service.settings.repositories, row["folder"])
    return 204, None


def list_branches(call: Call) -> Answer:
    row = call.repository(least="read")
    own = call.rights(row)
    return 200, [_shown(own, branch) for branch in git.branches(call.service.folder(row)) if own.sees(branch.name)]


def get_branch(call: Call) -> Answer:
    row, name = call.repository(least="read"), call.path["branch"]
    own = call.rights(row)
    # Any length: a pushed branch is listed, so it is also found here.
    known = names.is_reference(name) and own.sees(name)
    branch = git.branch(call.service.folder(row), name) if known else None
    if branch is None:
        raise HTTPException(404, MISSING)
    return 200, _shown(own, branch)


def create_branch(call: Call) -> Answer:
    row = call.repository(least="write")
    name = call.value("new_branch_name", str, "")
    source = call.value("old_ref_name", str) or call.value("old_branch_name", str) or row["default_branch"]
    if not names.is_branch(name) or not names.is_branch(source):
        raise HTTPException(422, "[BranchName]: is not a branch's name")
    # A commit id is not a branch, and a branch that the caller cannot see does not exist for it.
    folder = call.service.folder(row)
    begin = None if re.fullmatch("[0-9a-f]{40}", source) else git.branch(folder, source)
    own = call.rights(row)
    if begin is None or not own.sees(source):
        raise HTTPException(404, "The old branch does not exist")
    if not may_push(own, f"{HEADS}{name}"):
        raise HTTPException(403, f"Not allowed to push to protected branch {name}")
    check_room(folder)
    try:
        git.create_branch(folder, name, begin.commit)
    except git.GitError as error:
        if git.branch(folder, name):
            raise HTTPException(409, "The branch already exists.") from error
        other = git.in_the_way(folder, name)
        if other is None:
            raise
        raise HTTPException(
            409, f"The branch {other} already exists, beside which there can be none of this name."
        ) from error
    call.store.run("UPDATE repositories SET empty = 0, updated_at = ? WHERE id = ?", now(), row["id"])
    return 201, _shown(own, replace(begin, name=name))


def note_push(service: Service, row: Row) -> None:
    """Stores what a push may have changed. If that fails, it is stored before the next response."""
    folder = service.folder(row)
    service.unnoted.discard(row["id"])
    if not folder.exists():  # deleted in the meantime
        return
    try:
        empty, size = git.is_empty(folder), -(-size_of(folder) // 1024)
        sql = "UPDATE repositories SET empty = ?, size = ?, updated_at = ? WHERE id = ?"
        service.store.run(sql, int(empty), size, now(), row["id"])
    except (git.GitError, sqlite3.Error) as error:
        log.error("A push to %s can't be written down: %s", row["name"], error)
        service.unnoted.add(row["id"])


def note_again(service: Service) -> None:
    """Stores the changes that could not be stored before."""
    for id in list(service.unnoted):
        row = service.store.one("SELECT * FROM repositories WHERE id = ?", id)
        service.unnoted.discard(id)
        if row is not None:
            note_push(service, row)


def _shown(own: Pusher, branch: git.Branch) -> dict[str, Any]:
    rule = covering(own.rules, branch.name)
    may = may_push(own, f"{HEADS}{branch.name}")
    return serializers.branch(branch, rule=rule.pattern if rule else None, may_push=may)


def _description(call: Call) -> str | None:
    description: str | None = call.value("description", str)
    if description is not None and len(description) > _DESCRIPTION:
        raise HTTPException(422, f"[Description]: must be at most {_DESCRIPTION} characters")
    return description
