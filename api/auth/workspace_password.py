"""Checks workspace passwords, with a limit of attempts."""

from __future__ import annotations

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import Message
from atelier.common.models import Workspace
from atelier.common.passwords import verify_password

from ..core.rate_limit import Limiter

WRONG_PER_MINUTE = 10


class PasswordCheck:
    """Counts wrong passwords by workspace. Lives as long as the API: guesses are not worth keeping."""

    def __init__(self) -> None:
        self._wrong = Limiter(WRONG_PER_MINUTE, "too_many.passwords")

    def check(self, row: Workspace, password: str | None) -> None:
        """Returns when the workspace is open or the password is right. argon2 takes 20 ms: call it in a thread.

        Raises INVALID_WORKSPACE_PASSWORD, and TOO_MANY_ATTEMPTS (with ``retry_after``, seconds) from the eleventh
        wrong one in a minute on, right or wrong.
        """
        if row.password_hash is None:
            return
        known = row.password_hash
        if password is None:
            self._wrong.check(row.id)
        elif self._wrong.attempt(row.id, lambda: verify_password(known, password)):
            return
        raise AtelierError(Code.INVALID_WORKSPACE_PASSWORD, Message("api.wrong_workspace_password"))

    def forget(self, workspace_id: str) -> None:
        """Drops the count of a workspace that is gone."""
        self._wrong.forget(workspace_id)
