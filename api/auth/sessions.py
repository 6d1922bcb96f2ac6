"""Browser sessions: opaque ids in cookies, stored as hashes only."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from atelier.common.atomic_files import write_atomically

LIFETIME_SECONDS = 12 * 3600
# A client that signs in more often within the lifetime is a program, which should send its token.
_KEPT = 1000


class Role(StrEnum):
    """The role of a session: signed in with the API's token, or the workshop's password."""

    OPERATOR = "operator"
    WORKSHOP = "workshop"


class Sessions:
    """Sessions in one file, readable only by root, so that they survive a restart of the API.

    A session is invalidated when the secret it was created with changes. A role without a secret has no sessions.
    """

    def __init__(self, state_dir: Path, secrets_of: Mapping[Role, str]) -> None:
        self._secrets = secrets_of
        folder = state_dir / "api"
        for missing in (state_dir, folder):
            missing.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / "sessions.json"
        # Incomplete files of a killed API. There is only one API, so no process is writing now.
        for leftover in folder.glob(f".{self._path.name}.*"):
            leftover.unlink(missing_ok=True)
        self._turn = threading.Lock()
        # By the monotonic clock: a jump of the machine's clock ends no session and prolongs none.
        self._ends = self._read()

    def open(self, role: Role) -> str:
        """A new session's id, which only its cookie holds from now on. Writes a file: call it in a thread."""
        id = secrets.token_urlsafe(32)
        with self._turn:
            living = sorted((ends, key) for key, ends in self._ends.items() if ends > time.monotonic())
            newest = {key: ends for ends, key in living[-(_KEPT - 1) :]}
            self._keep({**newest, self._key(role, id): time.monotonic() + LIFETIME_SECONDS})
        return id

    def is_open(self, role: Role, id: str) -> bool:
        return bool(self._secrets[role]) and self._ends.get(self._key(role, id), 0) > time.monotonic()

    def close(self, role: Role, ids: Iterable[str]) -> int:
        """Ends the sessions of these ids and returns how many there were. Writes a file: call it in a thread."""
        with self._turn:
            closed = {self._key(role, id) for id in ids} & self._ends.keys()
            if closed:
                self._keep({key: ends for key, ends in self._ends.items() if key not in closed})
        return len(closed)

    def _key(self, role: Role, id: str) -> str:
        return hashlib.sha256(f"{role} {id} {self._secrets[role]}".encode(errors="replace")).hexdigest()

    def _keep(self, sessions: dict[str, float]) -> None:
        ahead = time.time() - time.monotonic()
        document = {key: {"ends_at": ends + ahead} for key, ends in sessions.items()}
        write_atomically(self._path, json.dumps(document).encode(), mode=0o600)
        self._ends = sessions

    def _read(self) -> dict[str, float]:
        try:
            document = json.loads(self._path.read_text())
            left = {key: float(entry["ends_at"]) - time.time() for key, entry in document.items()}
            # At most the lifetime: the clock may have been set back since.
            return {key: time.monotonic() + min(seconds, LIFETIME_SECONDS) for key, seconds in left.items()}
        except (FileNotFoundError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
            return {}  # a file that somebody spoilt signs everybody out, and keeps nobody from signing in
