"""Forgejo's API v1, as far as Atelier uses it: users, their tokens, collaborators, protections."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from ..accounts import SCOPES, SHORTEST_PASSWORD, hash_secret, new_token, new_user
from ..store import Row, Taken, now
from . import names, serializers
from .api import MISSING, Answer, Call

_PERMISSIONS = ("read", "write", "admin")
_LONGEST_RULE = 255


def get_me(call: Call) -> Answer:
    call.need("user", write=False)
    return 200, serializers.user(call.caller.user, call.service.settings)


def get_user(call: Call) -> Answer:
    call.need("user", write=False)
    return 200, serializers.user(_permitted_user(call), call.service.settings)


def create_user(call: Call) -> Answer:
    call.need_administrator()
    name, password = call.value("username", str, ""), call.value("password", str, "")
    if not names.is_user(name):
        raise HTTPException(
            422, "[Username]: must be letters and digits, with single dashes, dots and underscores inside"
        )
    _check_password(password)
    email, restricted = call.value("email", str, ""), call.value("restricted", bool, False)
    try:
        new_user(call.store, name, email, password, restricted=restricted)
    except Taken as error:
        raise HTTPException(422, f"user already exists [name: {name}]") from error
    return 201, serializers.user(call.user(name), call.service.settings)


def edit_user(call: Call) -> Answer:
    """Changes a user's password and rights. Forgejo requires the authentication source again in the request."""
    call.need_administrator()
    user, password = call.user(), call.value("password", str)
    if call.value("login_name", str) is None or call.value("source_id", int) is None:
        raise HTTPException(422, "[LoginName], [SourceID]: are required")
    if password is not None:
        _check_password(password)
    call.store.run(
        "UPDATE users SET password_hash = ?, is_admin = ?, restricted = ? WHERE id = ?",
        user["password_hash"] if password is None else hash_secret(password),
        int(call.value("admin", bool, bool(user["is_admin"]))),
        int(call.value("restricted", bool, bool(user["restricted"]))),
        user["id"],
    )
    return 200, serializers.user(call.user(), call.service.settings)


def delete_user(call: Call) -> Answer:
    call.need_administrator()
    user = call.user()
    if user["is_admin"]:
        raise HTTPException(422, "An administrator stays: one owns the repositories, the other is Atelier's own.")
    call.store.run("DELETE FROM users WHERE id = ?", user["id"])
    return 204, None


def list_tokens(call: Call) -> Answer:
    user = _token_owner(call)
    rows = call.store.all("SELECT * FROM tokens WHERE user_id = ? ORDER BY id", user["id"])
    return 200, [serializers.token(row) for row in rows]


def create_token(call: Call) -> Answer:
    user = _token_owner(call)
    name, scopes = call.value("name", str, ""), call.value("scopes", list, [])
    if not 1 <= len(name) <= 255:
        raise HTTPException(422, "[Name]: is required, at most 255 characters")
    if not scopes or not all(isinstance(scope, str) and scope in SCOPES for scope in scopes):
        raise HTTPException(400, f"access token must have a scope; known are {', '.join(sorted(SCOPES))}")
    try:
        number, token = new_token(call.store, user["id"], name, scopes)
    except Taken as error:
        raise HTTPException(400, "access token name has been used already") from error
    row = call.store.one("SELECT * FROM tokens WHERE id = ?", number)
    assert row is not None  # noqa: S101 - it was made just now
    return 201, serializers.token(row, token)


def delete_token(call: Call) -> Answer:
    """Deletes a token, given by its number or name."""
    user, which = _token_owner(call), call.path["token"]
    column = "id" if which.isascii() and which.isdigit() else "name"
    sql = f"DELETE FROM tokens WHERE user_id = ? AND {column} = ?"  # noqa: S608 - one of our own two words
    if not call.store.run(sql, user["id"], which):
        raise HTTPException(404, MISSING)
    return 204, None


def list_collaborators(call: Call) -> Answer:
    row = call.repository(least="read")
    users = call.store.all(
        "SELECT u.* FROM users u JOIN collaborators c ON c.user_id = u.id WHERE c.repository_id = ? ORDER BY u.id",
        row["id"],
    )
    return 200, [serializers.user(user, call.service.settings) for user in users]


def put_collaborator(call: Call) -> Answer:
    row = call.repository(least="owner")
    user, permission = call.store.user(call.path["user"]), call.value("permission", str, "write")
    if user is None or permission not in _PERMISSIONS:
        raise HTTPException(422, "The user or the permission is not known.")
    call.store.run(
        "INSERT INTO collaborators VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET permission = excluded.permission",
        row["id"],
        user["id"],
        "read" if permission == "read" else "write",
    )
    return 204, None


def delete_collaborator(call: Call) -> Answer:
    row = call.repository(least="owner")
    user = call.store.user(call.path["user"])
    sql = "DELETE FROM collaborators WHERE repository_id = ? AND user_id = ?"
    call.store.run(sql, row["id"], user["id"] if user else 0)
    return 204, None


def list_branch_protections(call: Call) -> Answer:
    row = call.repository(least="owner")
    return 200, [serializers.branch_protection(rule) for rule in call.store.protections(row["id"], "branch")]


def create_branch_protection(call: Call) -> Answer:
    row = call.repository(least="owner")
    pattern = call.value("rule_name", str) or call.value("branch_name", str) or ""
    users = _writers(call, row, "push_whitelist_usernames") or []
    push, whitelist = call.value("enable_push", bool, False), call.value("enable_push_whitelist", bool, False)
    rule = _add_rule(call, row, "branch", pattern, users, push=push, whitelist=whitelist)
    return 201, serializers.branch_protection(rule)


def get_branch_protection(call: Call) -> Answer:
    return 200, serializers.branch_protection(_rule(call, call.repository(least="owner"), call.path["rule"]))


def edit_branch_protection(call: Call) -> Answer:
    row = call.repository(least="owner")
    rule = _rule(call, row, call.path["rule"])
    users = _writers(call, row, "push_whitelist_usernames")
    with call.store.change():
        call.store.run(
            "UPDATE protections SET enable_push = ?, enable_whitelist = ?, updated_at = ? WHERE id = ?",
            int(call.value("enable_push", bool, bool(rule["enable_push"]))),
            int(call.value("enable_push_whitelist", bool, bool(rule["enable_whitelist"]))),
            now(),
            rule["id"],
        )
        if users is not None:
            call.store.set_whitelist(rule["id"], users)
    return 200, serializers.branch_protection(_rule(call, row, call.path["rule"]))


def delete_branch_protection(call: Call) -> Answer:
    rule = _rule(call, call.repository(least="owner"), call.path["rule"])
    call.store.run("DELETE FROM protections WHERE id = ?", rule["id"])
    return 204, None


def list_tag_protections(call: Call) -> Answer:
    row = call.repository(least="owner")
    return 200, [serializers.tag_protection(rule) for rule in call.store.protections(row["id"], "tag")]


def create_tag_protection(call: Call) -> Answer:
    row = call.repository(least="owner")
    pattern = call.value("name_pattern", str, "").strip()
    users = _writers(call, row, "whitelist_usernames") or []
    return 201, serializers.tag_protection(_add_rule(call, row, "tag", pattern, users, push=True, whitelist=True))


def _check_password(password: str) -> None:
    if len(password) < SHORTEST_PASSWORD:
        raise HTTPException(422, f"[Password]: must be random, with {SHORTEST_PASSWORD} characters or more")


def _permitted_user(call: Call) -> Row:
    """The user of the address: any for an administrator, only the caller's own for others."""
    user = call.user()
    if not call.caller.user["is_admin"] and user["id"] != call.caller.user["id"]:
        raise HTTPException(404, MISSING)
    return user


def _token_owner(call: Call) -> Row:
    """The user whose tokens are managed. Requires the password, so that a stolen token cannot create another."""
    if call.caller.scopes is not None:
        raise HTTPException(401, "auth required")
    return _permitted_user(call)


def _writers(call: Call, row: Row, key: str) -> list[int] | None:
    """The users that a rule should name. As in Forgejo, unknown users are refused and readers are left out."""
    given = call.value(key, list)
    if given is None:
        return None
    users = [call.store.user(name) if isinstance(name, str) else None for name in given]
    if None in users:
        raise HTTPException(422, "user does not exist")
    found: list[Any] = [user for user in users if user and call.store.permission(row, user) in ("owner", "write")]
    return [user["id"] for user in {user["id"]: user for user in found}.values()]


def _rule(call: Call, row: Row, pattern: str, kind: str = "branch") -> dict[str, Any]:
    for rule in call.store.protections(row["id"], kind):
        if rule["pattern"] == pattern:
            return rule
    raise HTTPException(404, MISSING)


def _add_rule(
    call: Call, row: Row, kind: str, pattern: str, users: list[int], *, push: bool, whitelist: bool
) -> dict[str, Any]:
    if not 1 <= len(pattern) <= _LONGEST_RULE:
        raise HTTPException(422, f"[RuleName]: is required, at most {_LONGEST_RULE} characters")
    time = now()
    values = {
        "repository_id": row["id"],
        "kind": kind,
        "pattern": pattern,
        "enable_push": int(push),
        "enable_whitelist": int(whitelist),
        "created_at": time,
        "updated_at": time,
    }
    try:
        with call.store.change():
            call.store.set_whitelist(call.store.insert("protections", values), users)
    except Taken as error:
        raise HTTPException(403, f"{kind.capitalize()} protection already exist") from error
    return _rule(call, row, pattern, kind)
