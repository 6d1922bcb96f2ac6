"""Repositories as their page shows them."""

from __future__ import annotations

from ...core.formatting import natural_key
from ...schemas.git import Repository


def default_first(repository: Repository) -> list[str]:
    """The repository's branches: the default one first, the others in natural order."""
    default = repository["defaultBranch"]
    return sorted(repository["branches"], key=lambda name: (name != default, natural_key(name)))
