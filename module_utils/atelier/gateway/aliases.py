"""Aliases: readable subdomains for ports of workspaces, optionally with a user name and a password.

They are stored in the database. The gateway's map has them as ``<id>-<port>``, the port's own name, with ``-auth``
appended if the API must check the password. Clones do not inherit them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

from ..common.errors import AtelierError, Code, invalid
from ..common.messages import Message
from ..common.models import IDE_PORT
from ..common.validation import check_form
from ..database.workspace_store import WorkspaceStore, now

SUBDOMAIN_LENGTH = (3, 32)
USER_LENGTH = (1, 64)
PASSWORD_LENGTH = (6, 128)
# fmt: off
RESERVED = frozenset({
    "admin", "api", "app", "atelier", "auth", "blog", "cdn", "dashboard", "dev", "docs", "ftp", "gateway", "git",
    "help", "imap", "localhost", "login", "mail", "metrics", "ns1", "ns2", "pop", "proxy", "registry", "root", "smtp",
    "ssh", "static", "status", "support", "test", "vpn", "webmail", "workshop", "www",
})
# fmt: on
_SUBDOMAIN = re.compile(r"[a-z][a-z0-9-]+[a-z0-9]")
# Subdomains that already belong to a workspace's id.
_WORKSPACE_NAME = re.compile(r"[0-9a-f]{12}(-[0-9]+)?")
# In the order of Alias' fields.
_COLUMNS = "subdomain, workspace_id, port, user, password_hash, created_at"


@dataclass(frozen=True)
class Alias:
    """``user`` and ``password_hash`` (argon2id) are both None for an open alias."""

    subdomain: str
    workspace_id: str
    port: int
    user: str | None
    password_hash: str | None = field(repr=False)
    created_at: str = ""


def check_subdomain(subdomain: str) -> str:
    """Raises VALIDATION_ERROR for an invalid subdomain, ALIAS_RESERVED for a reserved one."""
    check_form(subdomain, SUBDOMAIN_LENGTH, _SUBDOMAIN, "alias.subdomain", "subdomain")
    if subdomain in RESERVED or _WORKSPACE_NAME.fullmatch(subdomain):
        reserved = Message("alias.reserved", value=subdomain)
        raise AtelierError(Code.ALIAS_RESERVED, reserved, field="subdomain", value=subdomain)
    return subdomain


def check_port(port: int) -> int:
    if not 1 <= port <= 65535 or port == IDE_PORT:
        raise invalid("alias.port", "port", port=port, ide=IDE_PORT, value=port)
    return port


def check_user(user: str) -> str:
    """The user name for basic auth: 1-64 printable characters without a colon."""
    low, high = USER_LENGTH
    if not low <= len(user) <= high or not user.isprintable() or ":" in user:
        raise invalid("alias.user", "user", low=low, high=high)
    return user


def check_alias_password(password: str) -> str:
    low, high = PASSWORD_LENGTH
    if not low <= len(password) <= high or not password.isprintable():
        told = Message("alias.password", count=len(password), low=low, high=high)
        raise AtelierError(Code.INVALID_PASSWORD, told, field="password")
    return password


def put_alias(store: WorkspaceStore, alias: Alias, *, new: bool = False) -> bool:
    """Creates or changes the workspace's alias; returns whether anything changed. Raises ALIAS_EXISTS if another
    workspace has the name, or, with ``new``, if anyone has it."""
    with store.transaction() as db:
        present = find_alias(store, alias.subdomain)
        if present is not None and (new or present.workspace_id != alias.workspace_id):
            taken = Message("subdomain_taken", subdomain=alias.subdomain)
            raise AtelierError(Code.ALIAS_EXISTS, taken, field="subdomain", value=alias.subdomain)
        if present is not None and replace(present, created_at=alias.created_at) == alias:
            return False
        try:
            db.execute(
                f"INSERT INTO aliases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
                " ON CONFLICT (subdomain) DO UPDATE SET port = excluded.port, user = excluded.user,"
                " password_hash = excluded.password_hash",
                astuple(replace(alias, created_at=now())),
            )
            if alias.user is not None:  # it would be open beside its password
                place = (alias.workspace_id, alias.port)
                db.execute("DELETE FROM shared_ports WHERE workspace_id = ? AND port = ?", place)
        except sqlite3.IntegrityError as error:
            gone = Message("no_such_workspace", value=alias.workspace_id)
            raise AtelierError(Code.PROJECT_NOT_FOUND, gone, field="workspace_id") from error
    return True


def drop_alias(store: WorkspaceStore, workspace_id: str, subdomain: str) -> bool:
    """Returns whether it existed."""
    return store.write("DELETE FROM aliases WHERE subdomain = ? AND workspace_id = ?", subdomain, workspace_id) == 1


def find_alias(store: WorkspaceStore, subdomain: str) -> Alias | None:
    return next(iter(_select(store, "WHERE subdomain = ?", subdomain)), None)


def get_alias(store: WorkspaceStore, workspace_id: str, subdomain: str) -> Alias:
    """The workspace's alias. Raises NOT_FOUND."""
    found = find_alias(store, subdomain)
    if found is None or found.workspace_id != workspace_id:
        none = Message("alias.none", value=subdomain[:40])
        raise AtelierError(Code.NOT_FOUND, none, field="subdomain", value=subdomain[:40])
    return found


def all_aliases(store: WorkspaceStore) -> Mapping[str, Sequence[Alias]]:
    """The aliases by workspace id, sorted by name."""
    found: dict[str, list[Alias]] = {}
    for alias in _select(store, ""):
        found.setdefault(alias.workspace_id, []).append(alias)
    return found


def alias_routes(store: WorkspaceStore) -> dict[str, str]:
    """The gateway's map of aliases."""
    return {
        alias.subdomain: f"{alias.workspace_id}-{alias.port}{'-auth' if alias.user else ''}"
        for alias in _select(store, "")
    }


def _select(store: WorkspaceStore, condition: str, *values: str) -> list[Alias]:
    query = f"SELECT {_COLUMNS} FROM aliases {condition} ORDER BY subdomain"  # noqa: S608 - ours
    return [Alias(*row) for row in store.rows(query, *values)]
