"""Browser sessions: opaque ids in cookies, stored as hashes only."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Session:
    """``ends`` by the monotonic clock: a jump of the machine's clock ends no session and prolongs none."""

    role: Role
    ends: float


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
        self._sessions = self._read()

    def open(self, role: Role) -> str:
        """A new session's id, which only its cookie holds from now on. Writes a file: call it in a thread."""
        id = secrets.token_urlsafe(32)
        with self._turn:
            living = {key: session for key, session in self._sessions.items() if session.ends > time.monotonic()}
            newest = sorted(living, key=lambda key: living[key].ends)[-(_KEPT - 1) :]
            self._keep(
                {
                    **{key: living[key] for key in newest},
                    self._key(role, id): Session(role, time.monotonic() + LIFETIME_SECONDS),
                }
            )
        return id

    def find(self, role: Role, id: str) -> Session | None:
        session = self._sessions.get(self._key(role, id)) if self._secrets[role] else None
        return session if session is not None and session.ends > time.monotonic() else None

    def close(self, role: Role, ids: Iterable[str]) -> int:
        """Ends the sessions of these ids and returns how many there were. Writes a file: call it in a thread."""
        with self._turn:
            closed = {self._key(role, id) for id in ids} & self._sessions.keys()
            if closed:
                self._keep({key: session for key, session in self._sessions.items() if key not in closed})
        return len(closed)

    def _key(self, role: Role, id: str) -> str:
        return hashlib.sha256(f"{role} {id} {self._secrets[role]}".encode(errors="replace")).hexdigest()

    def _keep(self, sessions: dict[str, Session]) -> None:
        ahead = time.time() - time.monotonic()
        document = {key: {"role": session.role, "ends_at": session.ends + ahead} for key, session in sessions.items()}
        write_atomically(self._path, json.dumps(document).encode(), mode=0o600)
        self._sessions = sessions

    def _read(self) -> dict[str, Session]:
        try:
            document = json.loads(self._path.read_text())
            return {key: _session(entry) for key, entry in document.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}  # a file that somebody spoilt signs everybody out, and keeps nobody from signing in


def _session(entry: Mapping[str, object]) -> Session:
    """A session from the file, for at most the lifetime: the clock may have been set back since."""
    left = float(str(entry["ends_at"])) - time.time()
    return Session(Role(str(entry["role"])), time.monotonic() + min(left, LIFETIME_SECONDS))
