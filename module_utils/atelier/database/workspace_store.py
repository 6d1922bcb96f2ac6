"""The database: the workspaces and their desired state, in one crash-safe SQLite file.

Every write is one ``BEGIN IMMEDIATE`` transaction, so uniqueness, quotas and fixed addresses are decided where rows
are reserved, and two people who click at once are served one after the other. ``synchronous=FULL``: a reservation
that was answered survives a power cut.
"""

from __future__ import annotations

import itertools
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..common.errors import AtelierError, Code
from ..common.messages import Message, stored
from ..common.models import CONTROLLER, GIT_IMPORT, MEMORY_SIZES, Limits, Network, ProxyMode, Quotas, Status, Workspace
from ..common.timestamps import timestamp
from ..common.validation import TITLE_LENGTH
from .migrations import migrate, opened_alone, unusable
from .placement import Machine, check_fits, check_quota, free_addresses, place_on, take_addresses, with_labels
from .rows import COLUMNS, MUTABLE, Batch, clone_order, workspace_from

_BUSY_SECONDS = 30
# Messages are stored as JSON in any column.
sqlite3.register_adapter(Message, stored)


def now() -> str:
    """The present in ISO 8601, UTC, with milliseconds and ``Z``."""
    return timestamp(datetime.now(UTC))


def new_id() -> str:
    """12 lower-case hexadecimal characters."""
    return secrets.token_hex(6)


class WorkspaceStore:
    """Opens (and if need be makes or migrates) the database in ``state_dir``.

    Thread-safe. With ``create`` false a missing database counts as empty and is not created (check mode). Raises
    REGISTRY_ERROR if the folder or file cannot be used.
    """

    def __init__(
        self, state_dir: Path, networks: Mapping[ProxyMode, Network], quotas: Quotas, *, create: bool = True
    ) -> None:
        self._networks = networks
        self._quotas = quotas
        self._mutex = threading.RLock()
        self._is_writing = False  # only while somebody holds the mutex
        self._path = path = state_dir / "registry.sqlite3"
        try:
            in_memory = not create and not path.exists()
            if not in_memory:
                state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
            self._db = sqlite3.connect(
                ":memory:" if in_memory else path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with nullcontext() if in_memory else opened_alone(state_dir):
                self._db.execute("PRAGMA journal_mode = WAL")
                with self.transaction():
                    migrate(self._db, path)
        except (OSError, sqlite3.Error) as error:
            raise unusable(path, error) from error

    def __enter__(self) -> WorkspaceStore:
        return self

    def __exit__(self, *_: object) -> None:
        # SQLite's memory is freed: a thread that reads at this moment would crash the process.
        with self._mutex:
            self._db.close()

    # --- Reading ----------------------------------------------------------------------------------------------------

    def all(self, node: str | None = None) -> list[Workspace]:
        """All workspaces, or those of one machine, oldest first; clones of one batch in the order of their numbers."""
        query = f"SELECT {COLUMNS} FROM workspaces WHERE ?1 IS NULL OR node = ?1 ORDER BY sequence"  # noqa: S608
        return [workspace_from(row) for row in self.rows(query, node)]

    def find(self, *, id: str | None = None, name: str | None = None) -> Workspace | None:
        """The workspace with that id, or else with that name; None when there is none."""
        column, value = ("id", id) if id else ("name", name)
        rows = self.rows(f"SELECT {COLUMNS} FROM workspaces WHERE {column} = ?", value)  # noqa: S608 - one of two words
        return workspace_from(rows[0]) if rows else None

    def get(self, *, id: str | None = None, name: str | None = None, field: str | None = None) -> Workspace:
        """Like ``find``, but raises PROJECT_NOT_FOUND, with ``field`` (by default id or name) as the one at fault."""
        workspace = self.find(id=id, name=name)
        if workspace is None:
            gone = Message("no_such_workspace", value=id or name)
            field = field or ("id" if id else "name")
            raise AtelierError(Code.PROJECT_NOT_FOUND, gone, field=field, value=id or name)
        return workspace

    # --- Reserving --------------------------------------------------------------------------------------------------

    def reserve(
        self, orders: Sequence[Workspace], machines: Sequence[Machine] | None = None, *, dry_run: bool = False
    ) -> list[Workspace]:
        """Makes one row of status ``creating`` for each order, all or none; with ``dry_run``, only tries.

        Raises PROJECT_EXISTS for a name in use, WORKSPACE_LIMIT_EXCEEDED or CONCURRENT_LIMIT_REACHED over a quota,
        ADDRESSES_EXHAUSTED when the network has no address left, NO_ROOM when the ``machines`` have no memory
        left. On a single machine ``machines`` is None: the controller takes all.
        """
        with self.transaction(dry_run):
            return self._insert(orders, machines)

    def reserve_clones(
        self,
        source: Workspace,
        batch_id: str | None,
        hashes: Sequence[str | None],
        owner: str,
        *,
        machines: Sequence[Machine] | None = None,
        ids: Sequence[str] = (),
        dry_run: bool = False,
    ) -> list[Workspace]:
        """Reserves a clone for each of the password hashes, named ``{source} 1``, ``{source} 2``, ... skipping names
        in use: as one batch (whose lock the caller holds) if its id is given, with these ``ids`` if they are. Raises
        and tries as ``reserve`` does.
        """
        with self.transaction(dry_run) as db:
            if batch_id is not None:
                db.execute(
                    "INSERT INTO batches (id, source_id, count, created_at) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",  # it is there when an interrupted batch is filled up again
                    (batch_id, source.id, len(hashes), now()),
                )
            names = self._free_names(source.name, len(hashes))
            orders = [
                clone_order(source, name, password_hash, owner=owner, batch=batch_id, id=id)
                for id, name, password_hash in zip(ids or [new_id() for _ in hashes], names, hashes, strict=True)
            ]
            return self._insert(orders, machines)

    # --- Batches ----------------------------------------------------------------------------------------------------

    def open_batches(self, source_id: str | None = None) -> list[Batch]:
        """Clone orders whose result was never handed over, oldest first."""
        query = "SELECT id, source_id, count FROM batches WHERE ?1 IS NULL OR source_id = ?1 ORDER BY rowid"
        return [Batch(*row) for row in self.rows(query, source_id)]

    def close_batch(self, batch_id: str) -> None:
        """Forgets the order; its workspaces stay."""
        with self.transaction() as db:
            db.execute("DELETE FROM batches WHERE id = ?", (batch_id,))
            db.execute("UPDATE workspaces SET batch = NULL WHERE batch = ?", (batch_id,))

    def take_over(self, workspace: Workspace, batch_id: str) -> bool:
        """Assigns an unfinished row to another run. False if it was taken or completed since it was read."""
        change = "UPDATE workspaces SET batch = ? WHERE id = ? AND batch IS ? AND status = ?"
        return self.write(change, batch_id, workspace.id, workspace.batch, Status.CREATING) == 1

    # --- Changing ---------------------------------------------------------------------------------------------------

    def update(self, workspace_id: str, dry_run: bool = False, /, **values: str | None) -> None:
        """Sets columns of one row; with ``dry_run``, only tries. Raises PROJECT_EXISTS when a new name is in use."""
        unknown = values.keys() - MUTABLE
        if unknown:
            raise ValueError(f"not changeable: {sorted(unknown)}")
        assignments = ", ".join(f"{column} = ?" for column in values)
        with self.transaction(dry_run) as db:
            try:
                db.execute(
                    f"UPDATE workspaces SET {assignments} WHERE id = ?",  # noqa: S608 - names checked above
                    (*values.values(), workspace_id),
                )
            except sqlite3.IntegrityError as error:
                raise _name_taken(str(values.get("name"))) from error

    def observe(self, seen: Workspace, status: Status, error: str | None) -> None:
        """Sets a row's observed status, unless it was changed since it was read. A workspace started by other means
        becomes wanted; a stopped one keeps its intent."""
        change = (
            "UPDATE workspaces SET status = ?1, error = ?2, wanted = iif(?1 = 'running', 'running', wanted),"
            " stop_reason = iif(?1 = 'running', NULL, stop_reason) WHERE id = ?3"
        )
        with self.transaction() as db:
            present = self.find(id=seen.id)
            # As they are read: an error of another version may be stored in other words.
            if present is not None and (present.status, present.error) == (seen.status, seen.error):
                db.execute(change, (status, error, seen.id))

    def claim_running_slot(
        self,
        workspace_id: str,
        status: Status = Status.RUNNING,
        *,
        memory: Mapping[str, int] | None = None,
        dry_run: bool = False,
    ) -> None:
        """Marks a workspace as running (or, with CREATING, as being created) if the limit of running workspaces and the
        machine's memory allow it; with ``dry_run``, only checks. ``memory``: bytes that each machine can promise, with
        several machines. Ends an unfinished begin elsewhere. Raises CONCURRENT_LIMIT_REACHED and NO_ROOM."""
        with self.transaction(dry_run) as db:
            self.check_running_slot(workspace_id)
            if not self._is_promised(workspace_id):
                self._check_memory(workspace_id, memory or {})
            db.execute(
                "UPDATE workspaces SET status = ?, error = NULL, wanted = 'running', stop_reason = NULL,"
                " orders = orders + 1 WHERE id = ?",
                (status, workspace_id),
            )

    def end_beginning(self, workspace_id: str) -> None:
        """Notes that nothing is left to do of the workspace's beginning on another machine than a lost one."""
        self.write("DELETE FROM begun_elsewhere WHERE workspace_id = ?", workspace_id)

    def relocate(self, workspace_id: str, node: str, memory: Mapping[str, int]) -> None:
        """Notes that the workspace is on another machine from now on. ``memory`` as for ``claim_running_slot``. Raises
        NO_ROOM when it is to run and there is too little memory left."""
        with self.transaction():
            self.update(workspace_id, node=node)
            if self._is_promised(workspace_id):
                self._check_memory(workspace_id, memory)

    def check_growth(self, workspace_id: str, limits: Limits, memory: Mapping[str, int]) -> None:
        """Raises NO_ROOM when the workspace is to run with more memory than before, and its machine has too little left
        for that. ``memory`` as for ``claim_running_slot``."""
        grows = limits.memory_bytes > self.get(id=workspace_id).limits.memory_bytes
        if grows and self._is_promised(workspace_id):
            with self.transaction(dry_run=True):
                self.update(workspace_id, memory=limits.memory)
                self._check_memory(workspace_id, memory)

    def check_running_slot(self, workspace_id: str) -> None:
        """Raises CONCURRENT_LIMIT_REACHED when the workspace could not be started now."""
        _, running = self._usage("", exclude=workspace_id)
        check_quota(self._quotas, "max_concurrent_workspaces", running, 1)

    def room(self, owner: str, mode: ProxyMode) -> dict[str, int]:
        """The number of further workspaces that each quota and the mode's network addresses allow, by name."""
        with self.reading():
            owned, running = self._usage(owner)
            used = self._used_addresses()
        return {
            "max_workspaces_per_user": max(self._quotas.max_workspaces_per_user - owned, 0),
            "max_concurrent_workspaces": max(self._quotas.max_concurrent_workspaces - running, 0),
            "addresses": free_addresses(self._networks[mode].subnet, used),
        }

    def delete(self, workspace_id: str) -> None:
        """Deletes the workspace's row; its possible access to a repository is remembered until ``revoked``."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO git_revocations (workspace_id, repository) SELECT id, repository FROM workspaces"
                " WHERE id = ? AND repository IS NOT NULL ON CONFLICT DO NOTHING",
                (workspace_id,),
            )
            db.execute("DELETE FROM workspaces WHERE id = ?", (workspace_id,))

    def unrevoked(self) -> dict[str, str]:
        """Workspaces that are gone and whose access to the git server may not be: repositories by id."""
        return dict(self.rows("SELECT workspace_id, repository FROM git_revocations"))

    def revoked(self, workspace_id: str) -> None:
        self.write("DELETE FROM git_revocations WHERE workspace_id = ?", workspace_id)

    def import_row(self, workspace: Workspace) -> None:
        """Inserts a row unchanged (for a container that the database lost), regardless of quotas."""
        with self.transaction() as db:
            self._write(workspace)
            db.execute("UPDATE workspaces SET wanted = 'stopped' WHERE id = ? AND status = 'stopped'", (workspace.id,))

    # --- Transactions, also for what else is kept in the same file --------------------------------------------------

    @contextmanager
    def transaction(self, dry_run: bool = False) -> Iterator[sqlite3.Connection]:
        """A ``BEGIN IMMEDIATE`` transaction on the database's connection. All writes of this thread inside it are
        committed or none; with ``dry_run`` none. Raises REGISTRY_ERROR for SQLite's errors."""
        with self._mutex:
            if self._is_writing and not dry_run:  # within a transaction of this thread, which has the mutex
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._is_writing = True
                yield self._db
                self._db.execute("ROLLBACK" if dry_run else "COMMIT")
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error
            finally:
                self._is_writing = False
                # On a full disk SQLite rolls some transactions back itself.
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database's connection, for reads. Raises REGISTRY_ERROR for SQLite's errors."""
        with self._mutex:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error

    def rows(self, query: str, *values: object) -> list[Any]:
        """The rows that a query finds."""
        with self.reading() as db:
            return db.execute(query, values).fetchall()

    def write(self, change: str, *values: object) -> int:
        """Makes one change in a transaction; returns the number of rows that it affects."""
        with self.transaction() as db:
            return db.execute(change, values).rowcount

    def version(self) -> tuple[int, int]:
        """A number that changes whenever any process changes the file, to validate caches."""
        with self.reading() as db:
            (others,) = db.execute("PRAGMA data_version").fetchone()
            return others, db.total_changes

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _insert(self, orders: Sequence[Workspace], machines: Sequence[Machine] | None) -> list[Workspace]:
        for owner, wanted in Counter(order.owner for order in orders).items():
            owned, running = self._usage(owner)
            check_quota(self._quotas, "max_workspaces_per_user", owned, wanted)
            check_quota(self._quotas, "max_concurrent_workspaces", running, wanted)
        addresses = self._reserve_addresses(orders)
        nodes = self._place(orders, machines)
        moment = now()
        workspaces = [
            order._replace(
                address=address,
                node=node,
                created_at=moment,
                last_activity=moment,
                # A clone has its source's files already.
                git_pending=GIT_IMPORT if order.git_url and not order.cloned_from else None,
            )
            for order, address, node in zip(orders, addresses, nodes, strict=True)
        ]
        for workspace in workspaces:
            self._write(workspace)
        return workspaces

    def _write(self, workspace: Workspace) -> None:
        values = (*workspace[:-1], workspace.limits.memory, workspace.limits.cpus)
        marks = ", ".join("?" * len(values))
        try:
            self._db.execute(f"INSERT INTO workspaces ({COLUMNS}) VALUES ({marks})", values)  # noqa: S608
        except sqlite3.IntegrityError as error:
            raise _name_taken(workspace.name) from error

    def _usage(self, owner: str, exclude: str = "") -> tuple[int, int]:
        ((owned, running),) = self.rows(
            "SELECT count(*) FILTER (WHERE owner = ?1), count(*) FILTER (WHERE status IN ('creating', 'running'))"
            " FROM workspaces WHERE id <> ?2",
            *(owner, exclude),
        )
        return owned, running

    def _place(self, orders: Sequence[Workspace], machines: Sequence[Machine] | None) -> list[str]:
        if machines is None or not orders:
            return [CONTROLLER] * len(orders)
        # All orders of a request have the same labels.
        fit = with_labels(machines, orders[0].node_labels)
        return place_on(fit, [order.limits.memory_bytes for order in orders], self.promised())

    def seats(self) -> dict[str, int]:
        """The number of workspaces by node."""
        return dict(self.rows("SELECT node, count(*) FROM workspaces GROUP BY node"))

    def promised(self, without: str = "") -> dict[str, int]:
        """The memory in bytes of the workspaces that run or are to run, by node, ``without`` one of them."""
        query = (
            "SELECT node, memory, count(*) FROM workspaces WHERE wanted = 'running' AND id <> ? GROUP BY node, memory"
        )
        found: Counter[str] = Counter()
        for node, memory, count in self.rows(query, without):
            found[node] += MEMORY_SIZES[memory] * count
        return found

    def _is_promised(self, workspace_id: str) -> bool:
        """Whether its machine's memory is promised to the workspace already. One that a visit wakes up is to run, and
        keeps the reason for its stop until it has the promise."""
        query = "SELECT 1 FROM workspaces WHERE id = ? AND wanted = 'running' AND stop_reason IS NULL"
        return bool(self.rows(query, workspace_id))

    def _check_memory(self, workspace_id: str, memory: Mapping[str, int]) -> None:
        """Raises NO_ROOM if the workspace's machine has too little memory left; one that is not in ``memory`` has no
        limit."""
        row = self.find(id=workspace_id)
        if row is not None and row.node in memory:
            left = memory[row.node] - self.promised(workspace_id).get(row.node, 0)
            check_fits(row.name, row.limits.memory_bytes, row.node, left)

    def _reserve_addresses(self, orders: Sequence[Workspace]) -> list[str]:
        used = self._used_addresses()
        taken: dict[ProxyMode, Iterator[str]] = {}
        for mode, count in Counter(order.proxy_mode for order in orders).items():
            given = self.rows("SELECT last FROM address_cursors WHERE proxy_mode = ?", mode)
            addresses = take_addresses(self._networks[mode].subnet, used, given[0][0] if given else None, count)
            self.write("INSERT OR REPLACE INTO address_cursors (proxy_mode, last) VALUES (?, ?)", mode, addresses[-1])
            taken[mode] = iter(addresses)
        return [next(taken[order.proxy_mode]) for order in orders]

    def _used_addresses(self) -> set[str]:
        return {row[0] for row in self.rows("SELECT address FROM workspaces")}

    def _free_names(self, source_name: str, count: int) -> list[str]:
        used = {row[0] for row in self.rows("SELECT name FROM workspaces")}
        suffixes = (f" {number}" for number in itertools.count(1))
        names = (source_name[: TITLE_LENGTH[1] - len(suffix)].rstrip() + suffix for suffix in suffixes)
        return list(itertools.islice((name for name in names if name not in used), count))


def _name_taken(name: str) -> AtelierError:
    return AtelierError(Code.PROJECT_EXISTS, Message("name_taken", name=name), field="name", value=name)
