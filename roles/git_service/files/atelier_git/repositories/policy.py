"""Rules on who may push and see which reference. Pure; the pre-receive hook uses the same functions.

As in Forgejo: a rule for the branch's exact name precedes wildcards; of these the oldest match counts. Without a rule,
everybody with write access can push.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADS, TAGS = "refs/heads/", "refs/tags/"
_SHOWN = 100
_WILD = re.compile(r"[*?\[{\\]")


@dataclass(frozen=True)
class Rule:
    """``allowed``: whether the user in question may push to what the rule covers."""

    pattern: str
    allowed: bool


@dataclass(frozen=True)
class Pusher:
    """One user's permissions on one repository, as passed to the hook. ``visible``: the branches that a restricted user
    is shown; None for anybody else, who is shown all."""

    user: str
    may_write: bool
    rules: tuple[Rule, ...] = ()
    tag_rules: tuple[Rule, ...] = ()
    visible: Sequence[str] | None = None

    def sees(self, branch: str) -> bool:
        return self.visible is None or branch in self.visible

    def dump(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def load(text: str) -> Pusher:
    raw: dict[str, Any] = json.loads(text)
    return Pusher(**raw | {key: tuple(Rule(**rule) for rule in raw[key]) for key in ("rules", "tag_rules")})


def is_plain(pattern: str) -> bool:
    return not _WILD.search(pattern)


def covers(pattern: str, name: str) -> bool:
    """Whether a rule's pattern fits: ``*`` and ``?`` within a part of the name, ``**`` across its slashes."""
    if is_plain(pattern):
        return pattern == name
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(words.get(part, re.escape(part)) for part in parts), name) is not None


def covering(rules: Sequence[Rule], name: str) -> Rule | None:
    """The one that counts for a name, of rules that are given oldest first."""
    fitting = (rule for rule in rules if covers(rule.pattern, name))
    return min(fitting, key=lambda rule: not is_plain(rule.pattern), default=None)


def may_push(pusher: Pusher, reference: str) -> bool:
    if not pusher.may_write:
        return False
    if reference.startswith(HEADS):
        return _decided(pusher.rules, reference.removeprefix(HEADS))
    if reference.startswith(TAGS):
        return _decided(pusher.tag_rules, reference.removeprefix(TAGS))
    return False


def refusal(pusher: Pusher, references: Iterable[str]) -> str | None:
    """Why a push is refused, in the words that the pusher's git shows; None when all of it is allowed."""
    refused = [reference for reference in references if not may_push(pusher, reference)]
    if not refused:
        return None
    own = _own_branches(pusher.rules)
    names = ", ".join(reference.removeprefix(HEADS)[:_SHOWN] for reference in refused[:5])
    own_branch = f" Your branch is {own[0]}." if len(own) == 1 else ""
    return f"{pusher.user} may not push to {names}.{own_branch} Nothing of this push was taken."


def visible_branches(rules: Sequence[Rule], default_branch: str) -> list[str]:
    """The branches that a seat sees: the default branch and its own."""
    return list(dict.fromkeys([default_branch, *_own_branches(rules)]))


def hidden_references(visible: Iterable[str] | None) -> list[str]:
    """Values of git's transfer.hideRefs: everything but these branches; nothing for None. The last that fits counts."""
    return [] if visible is None else ["refs/", *(f"!{HEADS}{branch}" for branch in visible)]


def _own_branches(rules: Sequence[Rule]) -> list[str]:
    return [rule.pattern for rule in rules if rule.allowed and is_plain(rule.pattern)]


def _decided(rules: Sequence[Rule], name: str) -> bool:
    rule = covering(rules, name)
    return rule is None or rule.allowed
