"""Whether a caller knows a workspace's password, and how often one may guess."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque

from atelier.errors import AtelierError, Code
from atelier.model import Workspace
from atelier.passwords import verify_password

WRONG_PER_MINUTE = 10
_WINDOW_SECONDS = 60.0


class PasswordGuard:
    """Counts wrong passwords by workspace. Lives as long as the API: guesses are not worth keeping."""

    def __init__(self) -> None:
        self._wrong: defaultdict[str, deque[float]] = defaultdict(deque)
        self._mutex = threading.Lock()

    def check(self, row: Workspace, password: str | None) -> None:
        """Returns when the workspace is open or the password is right. argon2 takes 20 ms: call it in a thread.

        Raises INVALID_WORKSPACE_PASSWORD, and TOO_MANY_ATTEMPTS (with ``retry_after``, seconds) from the eleventh
        wrong one in a minute on, right or wrong.
        """
        if row.password_hash is None:
            return
        self._refuse_guessing(row.id)
        if password is not None and verify_password(row.password_hash, password):
            return
        if password is not None:
            with self._mutex:
                self._wrong[row.id].append(time.monotonic())
        raise AtelierError(
            Code.INVALID_WORKSPACE_PASSWORD,
            "Invalid password for password-protected workspace",
            remedy="Send the workspace's password as password.",
        )

    def _refuse_guessing(self, workspace_id: str) -> None:
        moment = time.monotonic()
        with self._mutex:
            wrong = self._wrong[workspace_id]
            while wrong and wrong[0] <= moment - _WINDOW_SECONDS:
                wrong.popleft()
            if len(wrong) < WRONG_PER_MINUTE:
                return
            wait = int(wrong[0] + _WINDOW_SECONDS - moment) + 1
        raise AtelierError(
            Code.TOO_MANY_ATTEMPTS,
            f"Too many wrong passwords for this workspace; try again in {wait} seconds.",
            retry_after=wait,
        )
