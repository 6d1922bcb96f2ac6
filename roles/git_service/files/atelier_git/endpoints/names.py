"""Names that Forgejo and git take. Pure. Atelier's core checks the same before it asks (module_utils/atelier)."""

from __future__ import annotations

import re

LONGEST = 100
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_USER = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*")
_RESERVED = frozenset({".", "..", "-"})
_RESERVED_ENDS = (".git", ".wiki", ".rss", ".atom")
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.")


def is_repository(name: str) -> bool:
    return len(name) <= LONGEST and bool(_NAME.fullmatch(name)) and ".." not in name


def is_reserved(name: str) -> bool:
    return name.lower() in _RESERVED or name.lower().endswith(_RESERVED_ENDS)


def is_user(name: str) -> bool:
    return len(name) <= 40 and bool(_USER.fullmatch(name))


def is_branch(name: str) -> bool:
    """Whether the name is valid for git-check-ref-format(1) and not too long for Forgejo."""
    return is_reference(name) and len(name) <= LONGEST and not name.startswith("-") and name not in ("@", "HEAD")


def is_reference(name: str) -> bool:
    """Whether it may stand behind ``refs/heads/``: as git-check-ref-format(1) without options."""
    return (
        bool(name)
        and not _NOT_IN_BRANCH.search(name)
        and not name.startswith((".", "/"))
        and not name.endswith((".", "/"))
        and not any(part.endswith(".lock") for part in name.split("/"))
    )
