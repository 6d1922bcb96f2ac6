"""Repositories as the pages show them: the API's answers and words in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.formatting import natural_key
from ...schemas.git import Repository
from ...schemas.projects import Project
from ..i18n import Words


def repository(project: Project, translator: Words, *, browsable: bool) -> dict[str, Any]:
    """A workspace's repository on the git server, the origin of its files, and git's problems; all empty without git.
    ``browsable``: whether the git server has web pages."""
    found: Mapping[str, Any] = project["gitRepository"] or {}
    return {
        "name": found.get("fullName", ""),
        "url": found.get("webUrl", "") if browsable else "",
        "address": found.get("cloneUrl", ""),
        "branch": found.get("branch", ""),
        "origin": project["gitUrl"] or "",
        "warnings": [translator.translate(warning) for warning in project["warnings"]],
        "shown": bool(found or project["gitUrl"] or project["warnings"]),
    }


def repositories(found: Sequence[Repository], *, browsable: bool) -> list[dict[str, Any]]:
    """One row per repository, with its branches: the default one first, the others in natural order."""
    return [
        {
            **entry,
            "url": entry["url"] if browsable else "",
            "branches": sorted(entry["branches"], key=lambda name: (name != entry["defaultBranch"], natural_key(name))),
        }
        for entry in found
    ]
