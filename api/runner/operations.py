"""The operations: each one's playbook, its variables, and the effect of its end on the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atelier.common.errors import AtelierError
from atelier.common.messages import Message, untagged
from atelier.common.models import Status
from atelier.database.intent import back_to_sleep
from atelier.database.job_store import Job, Jobs
from atelier.database.lasting_errors import shown
from atelier.database.workspace_store import WorkspaceStore

from .adapter import Ended, error_from

# The event of a rehearsal's job with its verdict.
VERDICT = "verdict"
COLLECT, TEARDOWN = "collect", "teardown"
# A password job's variable where it is for several workspaces: hashes by id.
HASHES = "workspace_password_hashes"
RELEASE, DRAIN, UPGRADE_ALL, BACKUP, WAKE = "release", "drain", "upgrade_all", "backup", "wake"
# A first backup to a slow storage.
_BACKUP_SECONDS = 12 * 3600.0
Outcomes = list[dict[str, Any]]
_LEAVING = ("stop", "delete", "reset", TEARDOWN, RELEASE)


def _of_one(jobs: Jobs, job: Job) -> Mapping[str, Any]:
    """The job's variables, and the id of its workspace if it is for one."""
    is_of_one = job.project_ids and HASHES not in job.variables
    return {"workspace_id": job.project_ids[0], **job.variables} if is_of_one else job.variables


def _of_one_with_run(name: str) -> Callable[[Jobs, Job], Mapping[str, Any]]:
    """Passes the job's id as a variable, by which a playbook that is run again after a crash knows what is done. A
    job's own variable takes precedence."""
    return lambda jobs, job: {name: job.id, **_of_one(jobs, job)}


def _of_all(jobs: Jobs, job: Job) -> Mapping[str, Any]:
    return {"workspace_ids": list(job.project_ids), **job.variables}


def _of_those_left(jobs: Jobs, job: Job) -> Mapping[str, Any]:
    # After a crash some may be gone already.
    return {"workshop_ids": [id for id in job.project_ids if jobs.store.find(id=id)], **job.variables}


@dataclass(frozen=True)
class Operation:
    """The action of a job. Its variables hold ids and hashes only: playbooks read everything else from the rows."""

    playbook: str
    lane: str = "interactive"
    variables: Callable[[Jobs, Job], Mapping[str, Any]] = _of_one
    # Whether its workspaces may be in the making: then its end leaves none ``creating``.
    makes: bool = True
    # What its end changes in the database besides.
    settle: Callable[[Jobs, Job, Ended], object] = lambda *_: None
    # Adds the results of its modules to the outcomes of its workspaces.
    told: Callable[[Ended, Outcomes], Outcomes] = lambda _, outcomes: outcomes
    # Whether something beside its workspaces may be left: then a run that did not end well is always cleared up after.
    needs_cleanup: bool = False
    # Whether it may be canceled while it runs; not if that would leave a workspace between two states.
    cancelable: bool = True
    # Additional time limit, per workspace and for the whole.
    seconds_each: float = 0
    seconds: float = 0

    def unfinished(self, jobs: Jobs, job: Job) -> Sequence[str]:
        """The workspaces that the job's end leaves incomplete: still ``creating``, and no other job works on them."""
        if not self.makes:
            return ()
        others = jobs.workspaces_with_open_jobs(but=job.id)
        rows = (jobs.store.find(id=id) for id in job.project_ids if id not in others)
        return [row.id for row in rows if row is not None and row.status is Status.CREATING]

    def finalize(self, jobs: Jobs, job: Job, ended: Ended) -> Outcomes:
        """Updates the database to the job's end; returns the outcome of each workspace. Unfinished ones have failed,
        for the reason of the job."""
        self.settle(jobs, job, ended)
        reason = ended.error.sentence if ended.error else Message("run_ended_before")
        for id in self.unfinished(jobs, job):
            jobs.store.update(id, status=Status.ERROR, error=reason)
        return self.told(ended, [_outcome(jobs.store, id) for id in job.project_ids])


def _woken(jobs: Jobs, job: Job, ended: Ended) -> None:
    back_to_sleep(jobs.store, job.project_ids)


def _released(jobs: Jobs, job: Job, ended: Ended) -> None:
    # Also if the run never reached the seat: its claim has ended, and it has its participant's files.
    row = jobs.store.find(id=job.project_ids[0])
    if ended.error is not None and row and row.unreleased is None and row.status is not Status.CREATING:
        jobs.store.update(row.id, unreleased=ended.error.message)


def _rehearsed(jobs: Jobs, job: Job, ended: Ended) -> None:
    verdict = ended.results.get("workshop_rehearsal", {}).get("verdict")
    if verdict:
        jobs.add_event(job.id, VERDICT, verdict)


def _errors_of(module: str) -> Callable[[Ended, Outcomes], Outcomes]:
    """The errors of the workspaces for which the module failed."""

    def told(ended: Ended, outcomes: Outcomes) -> Outcomes:
        errors = {seat["id"]: seat["error"] for seat in seats_of(ended, module) if seat["error"]}
        return [{**seat, "error": errors.get(seat["projectId"], seat["error"])} for seat in outcomes]

    return told


def _checkpoint_taken(ended: Ended, outcomes: Outcomes) -> Outcomes:
    return _with_warnings(outcomes, checkpoint_warnings(ended))


def _moved(ended: Ended, outcomes: Outcomes) -> Outcomes:
    return _with_warnings(outcomes, [seat["lost"] for seat in seats_of(ended, "workspace_move") if seat["lost"]])


def _with_warnings(outcomes: Outcomes, warnings: Sequence[str]) -> Outcomes:
    return [{**seat, "warnings": [*seat["warnings"], *warnings]} for seat in outcomes]


def _collected(ended: Ended, outcomes: Outcomes) -> Outcomes:
    """An error of the seat, or of the run that did not get to it."""
    entries = {entry["id"]: entry for entry in seats_of(ended, "workspace_archive")}
    told = []
    for outcome in outcomes:
        entry = entries.get(outcome["projectId"])
        error = entry["error"] if entry else ended.error.sentence if ended.error else None
        if error:
            told.append({**outcome, "status": "error", "error": error})
        else:
            note = entry["note"] if entry else None
            told.append({**outcome, "error": None, "warnings": [note] if note else []})
    return told


def _of_several(playbook: str, module: str, *, seconds_each: float) -> Operation:
    """An operation whose ``module`` continues after a workspace fails, and leaves that one unchanged. The variables
    select the workspaces."""
    return Operation(
        playbook,
        "bulk",
        lambda _, job: job.variables,
        makes=False,
        told=_errors_of(module),
        cancelable=False,
        needs_cleanup=True,
        seconds_each=seconds_each,
    )


OPERATIONS: Mapping[str, Operation] = {
    "create": Operation("workspace_create", "create"),
    "start": Operation("workspace_start"),
    "stop": Operation("workspace_stop"),
    "delete": Operation("workspace_delete", cancelable=False),
    "password": Operation(
        "workspace_password", told=_errors_of("workspace_passwords"), cancelable=False, seconds_each=10
    ),
    "checkpoint": Operation(
        "workspace_checkpoint",
        variables=_of_one_with_run("checkpoint_id"),
        told=_checkpoint_taken,
        needs_cleanup=True,
    ),
    "reset": Operation("workspace_reset", variables=_of_one_with_run("reset_id"), needs_cleanup=True, cancelable=False),
    "upgrade": Operation("workspace_upgrade", needs_cleanup=True, cancelable=False, seconds_each=600),
    UPGRADE_ALL: _of_several("workspace_upgrade", "workspace_upgrade", seconds_each=600),
    # Half-way the files are on two machines: the run that follows a crash finishes it or leaves it as it was.
    "move": Operation("workspace_move", told=_moved, needs_cleanup=True, cancelable=False, seconds_each=300),
    DRAIN: _of_several("node_drain", "cluster_node", seconds_each=300),
    RELEASE: Operation(
        "workspace_release",
        variables=_of_one_with_run("release_id"),
        settle=_released,
        needs_cleanup=True,
        cancelable=False,
    ),
    "clone": Operation(
        "workspace_clone",
        "bulk",
        lambda _, job: {"clone_source_id": job.variables["source_id"], "clone_ids": list(job.project_ids)},
        needs_cleanup=True,
    ),
    "alias": Operation("workspace_alias"),
    "rehearse": Operation(
        "workshop_rehearse",
        "bulk",
        lambda _, job: {"rehearse_source_id": job.project_ids[0], "rehearse_report_only": True, **job.variables},
        settle=_rehearsed,
        needs_cleanup=True,
    ),
    # Sequential, so that seats are not removed during a collect.
    COLLECT: Operation(
        "workshop_collect",
        "bulk",
        _of_those_left,
        makes=False,
        told=_collected,
        needs_cleanup=True,
        seconds_each=60,
    ),
    TEARDOWN: Operation(
        "workshop_teardown",
        "bulk",
        _of_those_left,
        makes=False,
        cancelable=False,
        needs_cleanup=True,
        seconds_each=60,
    ),
    "whitelist": Operation("whitelist_set"),
    "repository": Operation("repository_create"),
    "revive": Operation("workspace_revive", variables=_of_all, told=_errors_of("workspace_revive"), seconds_each=10),
    # Some may wait long for workspaces whose IDE does not answer.
    WAKE: Operation(
        "workspace_revive", "wake", _of_all, settle=_woken, told=_errors_of("workspace_revive"), seconds_each=10
    ),
    # Not in the interactive lane, because DNS propagation may take minutes.
    "certificate": Operation("certificate_renew", "create"),
    "repair": Operation("reconcile", variables=lambda *_: {"repair": True}),
    BACKUP: Operation("backup", "backup", needs_cleanup=True, seconds=_BACKUP_SECONDS),
}


def leaving(jobs: Jobs) -> set[str]:
    """Ids of workspaces that must not be assigned now, because a stop, removal, reset or release may be pending."""
    return {id for job in jobs.unfinished() if job.operation in _LEAVING for id in job.project_ids}


def _outcome(store: WorkspaceStore, id: str) -> dict[str, Any]:
    row = store.find(id=id)
    status, error = shown(row, row.status, row.error) if row else ("deleted", None)
    return {
        "projectId": id,
        "projectName": row.name if row else None,
        "status": str(status),
        "error": error,
        "warnings": [row.git_problem] if row and row.git_problem else [],
    }


def password_errors(ended: Ended) -> dict[str, AtelierError] | None:
    """Why workspaces did not get their passwords, by id; None where the run did not get that far."""
    if "seats" not in ended.results.get("workspace_passwords", {}):
        return None
    found = seats_of(ended, "workspace_passwords")
    return {seat["id"]: error_from({**seat, "msg": seat["error"]}) for seat in found if seat["error"]}


def checkpoint_warnings(ended: Ended) -> list[str]:
    """Why the checkpoint that was taken is not in the image registry, if so."""
    problem = untagged(dict(ended.results.get("workspace_checkpoint", {}))).get("problem")
    return [problem] if problem else []


def seats_of(ended: Ended, module: str) -> list[dict[str, Any]]:
    """The seats in the module's result; none where it never came to that."""
    return list(untagged(ended.results.get(module, {}).get("seats", [])))


def raise_for(ended: Ended) -> None:
    """Raises the run's error, if there is one."""
    error: AtelierError | None = ended.error
    if error is not None:
        raise error
