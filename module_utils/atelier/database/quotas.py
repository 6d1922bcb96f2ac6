"""Whether there is room for more workspaces."""

from __future__ import annotations

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..common.models import Quotas


def check_room(quotas: Quotas, usage: tuple[int, int], *, wanted: int, new_rows: bool) -> None:
    """Raises WORKSPACE_LIMIT_EXCEEDED or CONCURRENT_LIMIT_REACHED when ``wanted`` more would be too many.

    ``usage`` is how many the owner has and how many run or start now; ``new_rows`` is false for a mere start.
    """
    owned, running = usage
    if new_rows:
        _check(Code.WORKSPACE_LIMIT_EXCEEDED, "max_workspaces_per_user", quotas.max_workspaces_per_user, owned, wanted)
    _check(
        Code.CONCURRENT_LIMIT_REACHED, "max_concurrent_workspaces", quotas.max_concurrent_workspaces, running, wanted
    )


def _check(code: Code, setting: str, limit: int, used: int, wanted: int) -> None:
    remaining = max(limit - used, 0)
    if wanted <= remaining:
        return
    order = Message("one_workspace") if wanted == 1 else Message("clones", count=wanted)
    told = Message(setting, order=order, left=remaining, limit=limit)
    raise AtelierError(code, told, field=f"site.{setting}", limit=limit, used=used, requested=wanted)
