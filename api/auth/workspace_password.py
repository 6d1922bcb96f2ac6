"""Checks workspace passwords, with a limit of attempts."""

from __future__ import annotations

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.passwords import verify_password

from ..core.rate_limit import Limiter


def check_password(row: Workspace, password: str | None, wrong: Limiter) -> None:
    """Returns when the workspace is open or the password is right. argon2 takes 20 ms: call it in a thread.

    Raises INVALID_WORKSPACE_PASSWORD, and TOO_MANY_ATTEMPTS while ``wrong`` allows no more attempts for the workspace.
    """
    if row.password_hash is None:
        return
    known = row.password_hash
    if password is None:
        wrong.check(row.id)
    elif wrong.attempt(row.id, lambda: verify_password(known, password)):
        return
    raise AtelierError(Code.INVALID_WORKSPACE_PASSWORD, Message("api.wrong_workspace_password"))
