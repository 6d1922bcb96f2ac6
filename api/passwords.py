"""Whether a caller knows a workspace's password, and how often one may guess."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from atelier.errors import AtelierError, Code
from atelier.model import Workspace
from atelier.passwords import verify_password

WRONG_PER_MINUTE = 10
_WINDOW_SECONDS = 60.0


@dataclass
class _Guesses:
    """One workspace's: when the wrong ones of the last minute were made. Held while one is looked at, so that many at
    once are counted one by one."""

    wrong: deque[float] = field(default_factory=deque)
    turn: threading.Lock = field(default_factory=threading.Lock)


class PasswordGuard:
    """Counts wrong passwords by workspace. Lives as long as the API: guesses are not worth keeping."""

    def __init__(self) -> None:
        self._guesses: dict[str, _Guesses] = {}

    def check(self, row: Workspace, password: str | None) -> None:
        """Returns when the workspace is open or the password is right. argon2 takes 20 ms: call it in a thread.

        Raises INVALID_WORKSPACE_PASSWORD, and TOO_MANY_ATTEMPTS (with ``retry_after``, seconds) from the eleventh
        wrong one in a minute on, right or wrong.
        """
        if row.password_hash is None:
            return
        guesses = self._guesses.setdefault(row.id, _Guesses())
        with guesses.turn:
            _refuse_guessing(guesses.wrong)
            if password is not None:
                if verify_password(row.password_hash, password):
                    return
                guesses.wrong.append(time.monotonic())
        raise AtelierError(
            Code.INVALID_WORKSPACE_PASSWORD,
            "Invalid password for password-protected workspace",
            remedy="Send the workspace's password as password.",
        )

    def forget(self, workspace_id: str) -> None:
        """Drops the count of a workspace that is gone."""
        self._guesses.pop(workspace_id, None)


def _refuse_guessing(wrong: deque[float]) -> None:
    moment = time.monotonic()
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
