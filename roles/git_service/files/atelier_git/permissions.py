"""Looks up the permissions of a caller on a repository."""

from __future__ import annotations

from .accounts import Caller
from .policy import Pusher, Rule, visible_branches
from .store import Row, Store


def pusher(store: Store, repository: Row, caller: Caller) -> Pusher:
    """The caller's rights, for the hook and for the lists. As in Forgejo: a rule allows the named users, owner and
    administrators included; without a list, everybody with write access."""
    user = caller.user
    may_write = store.permission(repository, user) in ("owner", "write")

    def rules(kind: str) -> tuple[Rule, ...]:
        return tuple(
            Rule(
                rule["pattern"],
                bool(rule["enable_push"] and (not rule["enable_whitelist"] or user["id"] in rule["users"])),
            )
            for rule in store.protections(repository["id"], kind)
        )

    own = rules("branch")
    visible = visible_branches(own, repository["default_branch"]) if user["restricted"] else None
    return Pusher(user["name"], may_write, own, rules("tag"), visible)
