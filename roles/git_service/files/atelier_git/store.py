"""Users, tokens, repositories and rules, in SQLite. Every write is one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE users (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, lower_name TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
  password_hash TEXT NOT NULL, is_admin INTEGER NOT NULL, restricted INTEGER NOT NULL, created_at TEXT NOT NULL
) STRICT;
CREATE TABLE tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
  name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, last_eight TEXT NOT NULL, scopes TEXT NOT NULL,
  created_at TEXT NOT NULL, UNIQUE (user_id, name)
) STRICT;
CREATE TABLE repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id INTEGER NOT NULL REFERENCES users, name TEXT NOT NULL,
  lower_name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE, description TEXT NOT NULL, private INTEGER NOT NULL,
  default_branch TEXT NOT NULL, empty INTEGER NOT NULL, size INTEGER NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, UNIQUE (owner_id, lower_name)
) STRICT;
CREATE TABLE collaborators (
  repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, permission TEXT NOT NULL,
  PRIMARY KEY (repository_id, user_id)
) STRICT;
CREATE TABLE protections (
  id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('branch', 'tag')), pattern TEXT NOT NULL, enable_push INTEGER NOT NULL,
  enable_whitelist INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  UNIQUE (repository_id, kind, pattern)
) STRICT;
CREATE TABLE whitelisted (
  protection_id INTEGER NOT NULL REFERENCES protections ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, PRIMARY KEY (protection_id, user_id)
) STRICT;
"""
_VERSION = 1
_REPOSITORIES = "SELECT r.*, u.name AS owner_name FROM repositories r JOIN users u ON u.id = r.owner_id"
Row = sqlite3.Row


class Taken(Exception):
    """The name is in use."""


class Store:
    """One connection that threads share, one at a time: each call takes well under a millisecond."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        with self.change():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise RuntimeError(f"{path} is of version {version}, which this service does not know")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction for several statements; each one alone is one by itself."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                # On a full disk COMMIT fails, too. SQLite may have ended the transaction itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def one(self, sql: str, *values: object) -> Row | None:
        with self._lock:
            found: Row | None = self._db.execute(sql, values).fetchone()
            return found

    def all(self, sql: str, *values: object) -> list[Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def run(self, sql: str, *values: object) -> int:
        """Runs a statement; returns the number of changed rows."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def insert(self, table: str, values: Mapping[str, object]) -> int:
        """The new row's id. Raises Taken. Table and columns are ours, never a caller's."""
        marks = ", ".join("?" for _ in values)
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608
        with self._lock:
            try:
                return int(self._db.execute(sql, tuple(values.values())).lastrowid or 0)
            except sqlite3.IntegrityError as error:
                raise Taken(str(error)) from error

    # --- What is asked more than once -----------------------------------------------------------------------------

    def user(self, name: str) -> Row | None:
        return self.one("SELECT * FROM users WHERE lower_name = ?", name.lower())

    def repository(self, owner: str, name: str) -> Row | None:
        sql = f"{_REPOSITORIES} WHERE u.lower_name = ? AND r.lower_name = ?"
        return self.one(sql, owner.lower(), name.lower())

    def repositories_of(self, owner_id: int) -> list[Row]:
        return self.all(f"{_REPOSITORIES} WHERE r.owner_id = ? ORDER BY r.lower_name", owner_id)

    def permission(self, repository: Row, user: Row) -> str | None:
        """``owner``, ``write``, ``read`` or None."""
        if user["is_admin"] or user["id"] == repository["owner_id"]:
            return "owner"
        sql = "SELECT permission FROM collaborators WHERE repository_id = ? AND user_id = ?"
        found = self.one(sql, repository["id"], user["id"])
        return str(found["permission"]) if found else None

    def protections(self, repository_id: int, kind: str) -> list[dict[str, Any]]:
        """Each rule with its ``users``, their names by id, oldest first."""
        rules = self.all(
            "SELECT * FROM protections WHERE repository_id = ? AND kind = ? ORDER BY id", repository_id, kind
        )
        names: dict[int, dict[int, str]] = {}
        for row in self.all(
            "SELECT w.protection_id, u.id, u.name FROM whitelisted w JOIN users u ON u.id = w.user_id"
            " JOIN protections p ON p.id = w.protection_id WHERE p.repository_id = ? AND p.kind = ? ORDER BY u.id",
            repository_id,
            kind,
        ):
            names.setdefault(row["protection_id"], {})[row["id"]] = row["name"]
        return [{**dict(rule), "users": names.get(rule["id"], {})} for rule in rules]

    def set_whitelist(self, protection_id: int, user_ids: Sequence[int]) -> None:
        self.run("DELETE FROM whitelisted WHERE protection_id = ?", protection_id)
        for user_id in user_ids:
            self.insert("whitelisted", {"protection_id": protection_id, "user_id": user_id})


def now() -> str:
    """The time in Forgejo's format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
