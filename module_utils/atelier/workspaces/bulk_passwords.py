"""Changes the passwords of several workspaces at once, for example when fifty participants claim seats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..common.errors import AtelierError, Code
from ..common.messages import Message
from ..containers.context import Context
from .plan import WorkspaceSpec, WorkspaceState
from .service import ensure
from .side_by_side import each_alone


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
    """Gives each workspace, by its id, the password of that argon2id hash. Results and errors are as of
    ``each_alone``."""

    def set_one(id: str) -> PasswordSet:
        wanted = WorkspaceSpec(state=WorkspaceState.PRESENT, id=id, password_hash=hashes[id], must_exist=True)
        return PasswordSet(id, ensure(context, wanted, check_mode=check_mode).changed)

    def failed(id: str, error: AtelierError) -> PasswordSet:
        return PasswordSet(id, error=error.sentence, error_code=error.code, details=error.details)

    return each_alone(context, [*hashes], set_one, failed, lambda _: Message("step.passwords_set"))
