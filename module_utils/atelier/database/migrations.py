"""The database's file: opened in one process at a time, and copied before it is migrated. Its tables are a list of
migrations: entry N takes a file from ``user_version`` N to N + 1."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.messages import Message

_COPIES, _MOST_COPIES = "database-copies", 5
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE workspaces (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE CHECK (length(id) = 12),
            name TEXT NOT NULL UNIQUE,
            template TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('creating', 'running', 'stopped', 'error')),
            address TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL,
            last_activity TEXT NOT NULL,
            group_name TEXT,
            memory TEXT NOT NULL,
            cpus TEXT NOT NULL,
            proxy_mode TEXT NOT NULL,
            notes TEXT NOT NULL,
            password_hash TEXT,
            cloned_from TEXT,
            git_url TEXT,
            owner TEXT NOT NULL,
            batch TEXT,
            error TEXT
        ) STRICT
        """,
        # Where the last address was given: the next one follows, so that an address stays unused as long as possible
        # after its workspace is gone, and logs by address stay one workspace's.
        "CREATE TABLE address_cursors (proxy_mode TEXT PRIMARY KEY, last TEXT NOT NULL) STRICT",
        """
        CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            source_id TEXT NOT NULL,
            count INTEGER NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT
        """,
    ),
    (
        """
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            operation TEXT NOT NULL,
            state TEXT NOT NULL,
            project_ids TEXT NOT NULL,
            variables TEXT NOT NULL,
            created_at TEXT NOT NULL,
            started_at TEXT,
            finished_at TEXT,
            done INTEGER NOT NULL,
            total INTEGER NOT NULL,
            seats TEXT NOT NULL,
            error TEXT,
            caller TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX jobs_by_age ON jobs (created_at)",
        """
        CREATE TABLE job_events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            job_id TEXT NOT NULL,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            data TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX job_events_by_job ON job_events (job_id, sequence)",
    ),
    (
        "ALTER TABLE workspaces ADD COLUMN repository TEXT",
        "ALTER TABLE workspaces ADD COLUMN branch TEXT",
        "ALTER TABLE workspaces ADD COLUMN git_pending TEXT",
        "ALTER TABLE workspaces ADD COLUMN git_problem TEXT",
        # Access to repositories that workspaces which are gone may still have: until the git server said otherwise.
        "CREATE TABLE git_revocations (workspace_id TEXT PRIMARY KEY, repository TEXT NOT NULL) STRICT",
    ),
    (
        """
        CREATE TABLE claims (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            workspace_id TEXT NOT NULL,
            seat_name TEXT NOT NULL,
            name TEXT NOT NULL,
            email TEXT NOT NULL COLLATE NOCASE,
            claimed_at TEXT NOT NULL,
            released_at TEXT,
            password_due INTEGER NOT NULL
        ) STRICT
        """,
        # Whatever the code believes: a seat is one participant's, and a participant has one seat.
        "CREATE UNIQUE INDEX open_claims_by_seat ON claims (workspace_id) WHERE released_at IS NULL",
        "CREATE UNIQUE INDEX open_claims_by_email ON claims (email) WHERE released_at IS NULL",
        # However a row goes, its participant may have another seat then.
        """
        CREATE TRIGGER claims_of_removed_seats AFTER DELETE ON workspaces BEGIN
            UPDATE claims SET released_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), password_due = 0
            WHERE workspace_id = OLD.id AND released_at IS NULL;
        END
        """,
    ),
    (
        """
        CREATE TABLE extensions (
            workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
            until TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE aliases (
            subdomain TEXT PRIMARY KEY,
            workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
            port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
            user TEXT,
            password_hash TEXT,
            created_at TEXT NOT NULL,
            CHECK ((user IS NULL) = (password_hash IS NULL))
        ) STRICT
        """,
        "CREATE INDEX aliases_by_workspace ON aliases (workspace_id)",
    ),
    (
        """
        CREATE TABLE disk_notices (
            workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
            reason TEXT NOT NULL,
            used INTEGER NOT NULL,
            disk_limit INTEGER NOT NULL,
            at TEXT NOT NULL
        ) STRICT
        """,
    ),
    (
        # The desired state, separate from the observed `status`: `wanted` survives an outage in which Docker stopped
        # everything. `orders` counts deliberate starts and stops, `passwords` changes of the password, so that a
        # resumed job can detect later decisions.
        "ALTER TABLE workspaces ADD COLUMN wanted TEXT NOT NULL DEFAULT 'running'"
        " CHECK (wanted IN ('running', 'stopped'))",
        "UPDATE workspaces SET wanted = 'stopped' WHERE status = 'stopped'",
        "ALTER TABLE workspaces ADD COLUMN orders INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE workspaces ADD COLUMN passwords INTEGER NOT NULL DEFAULT 0",
        """
        CREATE TRIGGER changed_passwords AFTER UPDATE OF password_hash ON workspaces
        WHEN OLD.password_hash IS NOT NEW.password_hash BEGIN
            UPDATE workspaces SET passwords = passwords + 1 WHERE id = NEW.id;
        END
        """,
        # The counters of a job's workspaces when the job was asked for, as JSON: {id: [orders, passwords]}.
        "ALTER TABLE jobs ADD COLUMN basis TEXT NOT NULL DEFAULT '{}'",
    ),
    (
        """
        CREATE TABLE shared_ports (
            workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
            port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
            created_at TEXT NOT NULL,
            PRIMARY KEY (workspace_id, port)
        ) STRICT
        """,
    ),
    ("ALTER TABLE workspaces ADD COLUMN sessions TEXT NOT NULL DEFAULT ''",),
    (
        # Where a claim came from: how many seats one browser and one address hold is limited.
        "ALTER TABLE claims ADD COLUMN browser TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE claims ADD COLUMN source TEXT NOT NULL DEFAULT ''",
    ),
    (
        # Sentences have codes from here on, in the same columns. Those that something depends on get theirs; the others
        # are shown as they are.
        "UPDATE workspaces SET error ="
        " json_object('id', 'release_failed', 'params', json_object('why', substr(error, 21)))"
        " WHERE error LIKE 'Its release failed: %'",
        "UPDATE workspaces SET error = json_object('id', 'container_ends', 'params', json_object())"
        " WHERE error = 'Its container ends again and again; its log says why.'",
        "UPDATE workspaces SET git_problem = json_object('id', 'keeps_access', 'params', json_object("
        "'name', name, 'said', substr(git_problem, instr(git_problem, ' former participant: ') + 21)))"
        " WHERE git_problem LIKE '% still pushes with the token of its former participant: %'",
    ),
    # The machine of each workspace; there was only one before.
    ("ALTER TABLE workspaces ADD COLUMN node TEXT NOT NULL DEFAULT 'controller'",),
    # The labels that its machine must have: "disk=ssd,gpu=true"; empty for any machine.
    ("ALTER TABLE workspaces ADD COLUMN node_labels TEXT NOT NULL DEFAULT ''",),
    (
        # Workspaces that began on another machine than the lost one, until that is finished; "checkpoint" is when the
        # one was taken that it began from.
        """
        CREATE TABLE begun_elsewhere (
            workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
            lost TEXT NOT NULL,
            origin TEXT NOT NULL,
            checkpoint TEXT
        ) STRICT
        """,
    ),
    # Why a workspace was stopped on purpose; null for one that was started since, and for older stops.
    ("ALTER TABLE workspaces ADD COLUMN stop_reason TEXT CHECK (stop_reason IN ('idle', 'end', 'disk', 'person'))",),
    (
        # Why the release of a seat failed. It was in "error", around the reason, which may be that its machine was
        # removed, and also of seats that were stopped since.
        "ALTER TABLE workspaces ADD COLUMN unreleased TEXT",
        "UPDATE workspaces SET unreleased = json_extract(error, '$.params.why'),"
        " error = iif(json_extract(error, '$.params.why.id') = 'machine_removed',"
        " json_extract(error, '$.params.why'), NULL),"
        " status = iif(wanted = 'stopped' AND json_extract(error, '$.params.why.id') IS NOT 'machine_removed',"
        " 'stopped', status)"
        " WHERE status = 'error' AND iif(json_valid(error), json_extract(error, '$.id'), '') = 'release_failed'",
    ),
    (
        # A base: after the end of the workshop its clones are removed, and nobody may claim it. What a rehearsal copies
        # may be a seat.
        "ALTER TABLE workspaces ADD COLUMN was_cloned INTEGER NOT NULL DEFAULT 0",
        "UPDATE workspaces SET was_cloned = 1 WHERE cloned_from IS NULL"
        " AND id IN (SELECT cloned_from FROM workspaces WHERE group_name IS NOT '~rehearsal')",
        """
        CREATE TRIGGER bases AFTER UPDATE OF status ON workspaces
        WHEN NEW.status = 'running' AND NEW.cloned_from IS NOT NULL AND NEW.group_name IS NOT '~rehearsal' BEGIN
            UPDATE workspaces SET was_cloned = 1
            WHERE id = NEW.cloned_from AND cloned_from IS NULL AND was_cloned = 0;
        END
        """,
    ),
)
# The version of a file that is up to date.
VERSION = len(_MIGRATIONS)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Brings the file up to date inside the caller's transaction, and puts a copy of an older one aside before that.
    Raises REGISTRY_ERROR for a newer file, OSError and SQLite's errors."""
    version = schema_of(db)
    check_schema(version)
    if 0 < version < VERSION:
        _put_aside(path, version)
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    if version < VERSION:
        db.execute(f"PRAGMA user_version = {VERSION}")


def schema_of(db: sqlite3.Connection) -> int:
    """The file's version; 0 for a new one."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def nodes_of(db: sqlite3.Connection) -> set[str]:
    """The machines that have workspaces, besides removed ones, in a file of any version."""
    # Older versions had one machine.
    if "node" not in {column[1] for column in db.execute("PRAGMA table_info(workspaces)")}:
        return set()
    nodes = "SELECT DISTINCT node FROM workspaces WHERE coalesce(error, '') NOT LIKE '%machine_removed%'"
    return {node for (node,) in db.execute(nodes)}


def check_schema(version: int) -> None:
    """Raises REGISTRY_ERROR for a version that this code does not know."""
    if version > VERSION:
        newer = Message("newer_database", version=version, known=VERSION)
        raise AtelierError(Code.REGISTRY_ERROR, newer, field="site.state_dir")


@contextmanager
def opened_alone(folder: Path) -> Iterator[None]:
    """Locks the folder. SQLite raises "locked" for one of two processes that switch a new file to WAL concurrently."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which lets the lock go


def _put_aside(path: Path, version: int) -> None:
    """Copies the database with that version to the folder of copies beside it, and keeps the newest five copies.
    Another connection may hold its write lock. Raises OSError and SQLite's errors."""
    folder = path.parent / _COPIES
    folder.mkdir(mode=0o700, exist_ok=True)
    partial = folder / "unfinished"
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    # Use a separate connection: SQLite cannot copy one with an open write transaction.
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    partial.replace(folder / f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-schema-{version}.sqlite3")
    for old in sorted(folder.glob("*.sqlite3"))[:-_MOST_COPIES]:
        old.unlink()


def unusable(path: Path, error: Exception) -> AtelierError:
    return AtelierError(Code.REGISTRY_ERROR, Message("registry_unusable", path=path, why=error), field="site.state_dir")
