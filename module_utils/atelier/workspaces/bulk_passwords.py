"""Changes the passwords of several workspaces at once, for example when fifty participants claim seats."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from ..common.errors import AtelierError, Code, faults_of
from ..common.messages import Message
from ..containers.context import Context
from ..engine.docker_errors import is_engine_away
from .plan import WorkspaceSpec, WorkspaceState
from .service import ensure

# A restarting IDE keeps a core busy for most of a second: more at once only wait for each other.
_PER_CORE = 3


@dataclass(frozen=True)
class PasswordSet:
    """The result for one workspace's password. ``error_code`` is the code of ``error``; ``details`` name the field at
    fault and the remedy."""

    id: str
    changed: bool = False
    error: str | None = None
    error_code: Code | None = None
    details: Mapping[str, object] | None = None


def set_passwords(context: Context, hashes: Mapping[str, str], *, check_mode: bool = False) -> list[PasswordSet]:
    """Gives each workspace, by its id, the password of that argon2id hash, side by side and in the order given. One
    that fails fails alone, and says why. Raises SERVICE_UNAVAILABLE where the engine went away: run it again then."""
    if not hashes:
        return []
    with ThreadPoolExecutor(min(_PER_CORE * context.cpus(), len(hashes))) as pool:
        futures = [pool.submit(_set_one, context, id, hash, check_mode) for id, hash in hashes.items()]
        for done, _ in enumerate(as_completed(futures), 1):
            context.progress(Message("step.passwords_set"), done, len(hashes))
    return [future.result() for future in futures]


def _set_one(context: Context, id: str, password_hash: str, check_mode: bool) -> PasswordSet:
    wanted = WorkspaceSpec(state=WorkspaceState.PRESENT, id=id, password_hash=password_hash, must_exist=True)
    try:
        with faults_of(id):
            return PasswordSet(id, ensure(context, wanted, check_mode=check_mode).changed)
    except AtelierError as error:
        if is_engine_away(error):
            raise
        return PasswordSet(id, error=error.sentence, error_code=error.code, details=error.details)
