"""Whether there is room for more workspaces."""

from __future__ import annotations

from .errors import AtelierError, Code
from .model import Quotas


def check_room(quotas: Quotas, usage: tuple[int, int], *, wanted: int, new_rows: bool) -> None:
    """Raises WORKSPACE_LIMIT_EXCEEDED or CONCURRENT_LIMIT_REACHED when ``wanted`` more would be too many.

    ``usage`` is how many the owner has and how many run or start now; ``new_rows`` is false for a mere start.
    """
    owned, running = usage
    if new_rows:
        _check(
            Code.WORKSPACE_LIMIT_EXCEEDED,
            "workspace",
            "max_workspaces_per_user",
            quotas.max_workspaces_per_user,
            owned,
            wanted,
            "Delete workspaces",
        )
    _check(
        Code.CONCURRENT_LIMIT_REACHED,
        "running workspace",
        "max_concurrent_workspaces",
        quotas.max_concurrent_workspaces,
        running,
        wanted,
        "Stop workspaces",
    )


def _check(code: Code, noun: str, setting: str, limit: int, used: int, wanted: int, remedy: str) -> None:
    remaining = max(limit - used, 0)
    if wanted <= remaining:
        return
    what = "1 workspace" if wanted == 1 else f"{wanted} clones"
    raise AtelierError(
        code,
        f"Cannot create {what}: only {remaining} {noun} slots remaining (limit: {limit})",
        field=f"site.{setting}",
        remedy=f"{remedy}, or raise atelier_{setting}.",
        limit=limit,
        used=used,
        requested=wanted,
    )
