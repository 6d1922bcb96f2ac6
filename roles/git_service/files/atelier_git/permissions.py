"""Looks up the permissions of a caller on a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .accounts import Caller
from .policy import Pusher, Rule, hidden_references, visible_branches
from .store import Row, Store


def pusher(store: Store, repository: Row, caller: Caller) -> Pusher:
    """The caller's rights, for the hook and for the lists."""
    permission = store.permission(repository, caller.user)
    may_write = permission in ("owner", "write")

    def rules(kind: str) -> tuple[Rule, ...]:
        found = store.protections(repository["id"], kind)
        return tuple(Rule(rule["pattern"], allows(rule, caller.user["id"])) for rule in found)

    return Pusher(caller.user["name"], may_write, rules("branch"), rules("tag"))


def allows(rule: Mapping[str, Any], user_id: int) -> bool:
    """Whether a rule allows the user to push. As in Forgejo: the named users, including owner and administrators;
    without a list, everybody with write access."""
    return bool(rule["enable_push"]) and (not rule["enable_whitelist"] or user_id in rule["users"])


def sees(repository: Row, caller: Caller, rights: Pusher) -> list[str] | None:
    """The branches that a restricted user is shown; None for anybody else, who is shown all."""
    if not caller.user["restricted"]:
        return None
    return visible_branches(rights.rules, repository["default_branch"])


def hidden(visible: list[str] | None) -> list[str]:
    return [] if visible is None else hidden_references(visible)
