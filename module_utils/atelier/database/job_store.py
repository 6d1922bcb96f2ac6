"""Jobs: the playbook executions requested over the API, their events and results.

They are stored in the database, so they survive a crash. A job's variables contain ids and plain words, never passwords
(rows have hashes, written before the job runs).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from ..common.messages import restored, tagged, untagged
from .intent import counters
from .workspace_store import WorkspaceStore, new_id, now

# Older ones are deleted when a new one is created.
KEPT_JOBS = 1000


class JobState(StrEnum):
    """*failed*: the play failed. *error*: it could not run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"


OPEN = (JobState.PENDING, JobState.RUNNING)
# The kind of a job's last event; its data are the state and the error.
ENDED = "ended"


@dataclass(frozen=True)
class Job:
    """A job as it stands. ``seats`` are its outcomes by workspace; ``error`` is a sentence. In the data of events the
    codes of sentences stand beside them (see messages)."""

    id: str
    operation: str
    state: JobState
    project_ids: Sequence[str]
    variables: Mapping[str, Any]
    created_at: str
    started_at: str | None
    finished_at: str | None
    done: int
    total: int
    seats: Sequence[Mapping[str, Any]]
    error: str | None
    caller: str
    # The workspaces' counters when the job was asked for: orders and passwords by id (see intent).
    basis: Mapping[str, Sequence[int]] = field(default_factory=dict)


_COLUMNS = [column.name for column in fields(Job)]


@dataclass(frozen=True)
class JobEvent:
    """``sequence`` grows over all jobs, so that a reader can go on where it was cut off."""

    sequence: int
    at: str
    kind: str
    data: Mapping[str, Any]


class Jobs:
    """The jobs of one database."""

    def __init__(self, store: WorkspaceStore) -> None:
        self.store = store

    def create(self, operation: str, project_ids: Sequence[str], variables: Mapping[str, Any], caller: str) -> Job:
        """Stores a pending job; from then on it survives a crash."""
        job_id = new_id()
        with self.store.transaction() as db:
            basis = counters(self.store, project_ids)
            db.execute(
                "INSERT INTO jobs (id, operation, state, project_ids, variables, created_at, done, total, seats,"
                " caller, basis)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, ?, '[]', ?, ?)",
                (
                    *(job_id, operation, JobState.PENDING, json.dumps(list(project_ids)), json.dumps(dict(variables))),
                    *(now(), max(len(project_ids), 1), caller, json.dumps(basis)),
                ),
            )
            dropped = db.execute(
                "DELETE FROM jobs WHERE state NOT IN ('pending', 'running') AND rowid NOT IN"
                " (SELECT rowid FROM jobs ORDER BY rowid DESC LIMIT ?) RETURNING id",
                (KEPT_JOBS,),
            ).fetchall()
            db.executemany("DELETE FROM job_events WHERE job_id = ?", dropped)
        return self._select("WHERE id = ?", job_id)[0]

    def started(self, job_id: str) -> None:
        self._set(job_id, state=JobState.RUNNING, started_at=now())

    def progress(self, job_id: str, done: int, total: int) -> None:
        self._set(job_id, done=done, total=total)

    def finish(
        self, job_id: str, state: JobState, error: str | None = None, seats: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Writes the end and its event, which comes last, in one transaction: no crash leaves one without the other."""
        with self.store.transaction() as db:
            ended = db.execute(
                "UPDATE jobs SET state = ?, error = ?, seats = ?, finished_at = ? WHERE id = ? AND state IN (?, ?)",
                (state, error, json.dumps(tagged(list(seats))), now(), job_id, *OPEN),
            )
            if ended.rowcount == 1:
                self.add_event(job_id, ENDED, {"state": str(state), "error": error})

    def find(self, job_id: str) -> Job | None:
        return next(iter(self._select("WHERE id = ?", job_id)), None)

    def all(self, limit: int = 100) -> list[Job]:
        """The newest jobs, newest first."""
        return self._select("ORDER BY rowid DESC LIMIT ?", limit)

    def later(self, job: Job) -> list[Job]:
        """Jobs requested after that one, by sequence, because the wall clock may have been set back."""
        return self._select("WHERE rowid > (SELECT rowid FROM jobs WHERE id = ?) ORDER BY rowid", job.id)

    def unfinished(self) -> list[Job]:
        """Jobs that were asked for and are not at their end, oldest first."""
        return self._select("WHERE state IN (?, ?) ORDER BY rowid", *OPEN)

    def workspaces_with_open_jobs(self, but: str | None = None) -> set[str]:
        """Ids of workspaces that an unfinished job is for, ``but`` for the job of that id."""
        return {id for job in self.unfinished() if job.id != but for id in job.project_ids}

    def add_event(self, job_id: str, kind: str, data: Mapping[str, Any]) -> JobEvent:
        """Stores an event of the job."""
        moment = now()
        with self.store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO job_events (job_id, at, kind, data) VALUES (?, ?, ?, ?)",
                (job_id, moment, kind, json.dumps(tagged(data))),
            )
        return JobEvent(int(cursor.lastrowid or 0), moment, kind, data)

    def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """The job's events after the one with that number."""
        query = "SELECT sequence, at, kind, data FROM job_events WHERE job_id = ? AND sequence > ? ORDER BY sequence"
        rows = self.store.rows(query, job_id, after)
        return [JobEvent(number, at, kind, json.loads(data)) for number, at, kind, data in rows]

    def _select(self, rest: str, *values: str | int) -> list[Job]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM jobs {rest}"  # noqa: S608 - ours
        return [_job(row) for row in self.store.rows(query, *values)]

    def _set(self, job_id: str, **values: str | int | None) -> None:
        assignments = ", ".join(f"{column} = ?" for column in values)
        self.store.write(f"UPDATE jobs SET {assignments} WHERE id = ?", *values.values(), job_id)  # noqa: S608


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("project_ids", "variables", "seats", "basis"):
        values[name] = json.loads(values[name])
    values["seats"] = untagged(values["seats"])
    return Job(**(values | {"state": JobState(values["state"]), "error": restored(values["error"])}))
