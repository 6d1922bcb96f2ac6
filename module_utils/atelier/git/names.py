"""Names on the git server: which Forgejo takes for repositories, which git takes for branches. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..common.errors import invalid

# Forgejo's own numbers and words: CreateRepoOption's binding, and models/repo's reserved names and patterns.
LONGEST_NAME = 100
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+")
_RESERVED = frozenset({".", "..", "-"})
_RESERVED_ENDS = (".git", ".wiki", ".rss", ".atom")

# Forgejo's rule for user names (modules/validation), and the words that models/user reserves for its pages.
_USER = re.compile(r"[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*")
_LONGEST_USER = 40
# fmt: off
_RESERVED_USERS = frozenset({
    "admin", "api", "assets", "attachments", "avatar", "avatars", "captcha", "commits", "debug", "devtest",
    "error", "explore", "ghost", "issues", "login", "metrics", "milestones", "new", "notifications", "org",
    "pulls", "raw", "repo", "repo-avatars", "search", "user", "v2", "actions", "forgejo-actions",
    "gitea-actions",
})
# fmt: on
# The account that Atelier works as; both roles make it.
SERVICE_ACCOUNT = "atelier-service"

MAIN = "main"
SEAT_BRANCHES = "clone/"
# Not allowed in a reference, see git-check-ref-format(1).
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.")
_NOT_IN_SANITISED = re.compile(r"[^a-z0-9_-]+")
_MOST_SUFFIXES = 1000


def check_repository_name(name: str, field: str = "name") -> str:
    """A name that Forgejo takes: 1-100 letters, digits, ``-``, ``_`` and ``.``, not one of its reserved ones.

    Raises VALIDATION_ERROR.
    """
    lower = name.lower()
    reserved = lower in _RESERVED or lower.endswith(_RESERVED_ENDS) or ".." in name
    if reserved or not 1 <= len(name) <= LONGEST_NAME or not _REPOSITORY.fullmatch(name):
        raise invalid("input.repository", field, value=name[:110], most=LONGEST_NAME, ends=", ".join(_RESERVED_ENDS))
    return name


def check_owner(name: str) -> str:
    """An account that Forgejo takes for the owner, and that is not Atelier's own. Raises VALIDATION_ERROR."""
    lower = name.lower()
    reserved = lower in _RESERVED_USERS or lower == SERVICE_ACCOUNT or lower.startswith("seat-")
    if reserved or not 1 <= len(name) <= _LONGEST_USER or not _USER.fullmatch(name):
        raise invalid("input.owner", "atelier_git_admin_user", value=name[:50], most=_LONGEST_USER)
    return name


def check_branch(branch: str, field: str = "branch") -> str:
    """A branch that git and Forgejo take. Raises VALIDATION_ERROR."""
    parts = branch.split("/")
    if (
        not 1 <= len(branch) <= LONGEST_NAME
        or _NOT_IN_BRANCH.search(branch)
        or branch.startswith((".", "/", "-"))
        or branch.endswith((".", "/"))
        or branch in ("@", "HEAD")
        or any(part.endswith(".lock") for part in parts)
    ):
        raise invalid("input.branch", field, value=branch[:110], most=LONGEST_NAME)
    return branch


def repository_name(title: str) -> str:
    """Converts a workspace's name to a repository's: ``-`` for characters that Forgejo refuses. Never raises."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", title).strip(".-")[:LONGEST_NAME]
    name = re.sub(r"\.{2,}", ".", name) or "repository"
    return f"{name}-repository"[-LONGEST_NAME:] if name.lower().endswith(_RESERVED_ENDS) else name


def seat_branch(title: str) -> str:
    """A seat's branch: ``clone/`` and its name, in lower case, anything unusual in it replaced by ``-``."""
    plain = _NOT_IN_SANITISED.sub("-", title.lower()).strip("-")
    return f"{SEAT_BRANCHES}{plain or 'seat'}"[:LONGEST_NAME]


def candidates(name: str) -> Iterator[str]:
    """Yields the name, then ``name-2``, ``name-3``, ..., cut to Forgejo's maximum length."""
    yield name
    for number in range(2, _MOST_SUFFIXES):
        suffix = f"-{number}"
        yield f"{name[: LONGEST_NAME - len(suffix)]}{suffix}"
