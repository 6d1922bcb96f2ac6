"""What can be asked for: each operation's playbook, the variables it gets, and what its end means for the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atelier.common.errors import AtelierError
from atelier.common.messages import Message, untagged
from atelier.common.models import Status
from atelier.containers.container import is_unreleased, release_failed
from atelier.database.job_store import Job, Jobs
from atelier.database.workspace_store import Registry

from ..runner.adapter import Ended, error_from
from ..runner.queue import Operation

# The event of a rehearsal's job that has what it found.
VERDICT = "verdict"
COLLECT, TEARDOWN = "collect", "teardown"
# A password job's variable where it is for several workspaces: hashes by id.
HASHES = "workspace_password_hashes"
RELEASE = "release"
_LEAVING = ("stop", "delete", TEARDOWN, RELEASE)


def operations(registry: Registry, jobs: Jobs) -> Mapping[str, Operation]:
    """The table, by name. A job's variables hold ids and hashes only: what else a playbook needs stands in the rows."""

    def unfinished(job: Job) -> Sequence[str]:
        """Workspaces of the job that are still ``creating``, and that no other job is at."""
        others = {id for other in jobs.unfinished() if other.id != job.id for id in other.project_ids}
        rows = (registry.find(id=id) for id in job.project_ids if id not in others)
        return [row.id for row in rows if row is not None and row.status is Status.CREATING]

    def settle(job: Job, ended: Ended) -> list[dict[str, Any]]:
        """What the run did not finish is in error, with its reason: nothing stays ``creating`` for ever."""
        reason = ended.error.sentence if ended.error else Message("run_ended_before")
        for id in unfinished(job):
            registry.update(id, status=Status.ERROR, error=reason)
        return [_outcome(registry, id) for id in job.project_ids]

    def of_one(job: Job) -> Mapping[str, Any]:
        return {"workspace_id": job.project_ids[0], **job.variables}

    def of_one_or_more(job: Job) -> Mapping[str, Any]:
        return job.variables if HASHES in job.variables else of_one(job)

    def one(name: str, *, lane: str = "person", divisible: bool = True) -> Operation:
        return Operation(name, f"workspace_{name}", lane, of_one, unfinished, settle, divisible=divisible)

    # By its id, the playbook of a job that is taken up after a crash knows what it has done already.
    def reset_variables(job: Job) -> Mapping[str, Any]:
        return {**of_one(job), "reset_id": job.id}

    def release_variables(job: Job) -> Mapping[str, Any]:
        return {**of_one(job), "release_id": job.id}

    def checkpoint_variables(job: Job) -> Mapping[str, Any]:
        return {**of_one(job), "checkpoint_id": job.id}

    def clone_variables(job: Job) -> Mapping[str, Any]:
        return {"clone_source_id": job.variables["source_id"], "clone_ids": list(job.project_ids)}

    def of_rehearsal(job: Job) -> Mapping[str, Any]:
        return {"rehearse_source_id": job.project_ids[0], "rehearse_report_only": True, **job.variables}

    def of_those_left(job: Job) -> Mapping[str, Any]:
        # After a crash some are gone already.
        return {"workshop_ids": [id for id in job.project_ids if registry.find(id=id)], **job.variables}

    def collected(job: Job, ended: Ended) -> list[dict[str, Any]]:
        entries = {entry["id"]: entry for entry in _seats_of(ended, "workspace_archive")}
        return [_collected(_outcome(registry, id), entries.get(id), ended) for id in job.project_ids]

    def passwords_set(job: Job, ended: Ended) -> list[dict[str, Any]]:
        errors = password_errors(ended) or {}
        why = {id: {"error": error.sentence} for id, error in errors.items()}
        return [seat | why.get(seat["projectId"], {}) for seat in settle(job, ended)]

    def of_several(job: Job) -> Mapping[str, Any]:
        return {"workspace_ids": list(job.project_ids), **job.variables}

    def revived(job: Job, ended: Ended) -> list[dict[str, Any]]:
        found = _seats_of(ended, "workspace_revive")
        why = {seat["id"]: {"error": seat["error"]} for seat in found if seat["error"]}
        return [seat | why.get(seat["projectId"], {}) for seat in settle(job, ended)]

    def seat_released(job: Job, ended: Ended) -> list[dict[str, Any]]:
        # Also where the run never came to the seat: its claim has ended, and it holds what its participant left.
        row = registry.find(id=job.project_ids[0])
        if ended.error is not None and row and not (row.status is Status.CREATING or is_unreleased(row)):
            release_failed(registry, row.id, ended.error.message)
        return settle(job, ended)

    def removed(job: Job, ended: Ended) -> list[dict[str, Any]]:
        return [_outcome(registry, id) for id in job.project_ids]

    def nothing(job: Job) -> Sequence[str]:
        return ()

    def told(job: Job, ended: Ended) -> list[dict[str, Any]]:
        verdict = ended.results.get("rehearse", {}).get("verdict")
        if verdict:
            jobs.note(job.id, VERDICT, verdict)
        return settle(job, ended)

    def as_asked(job: Job) -> Mapping[str, Any]:
        return job.variables

    table = [
        one("create", lane="create"),
        one("start"),
        one("stop"),
        one("delete", divisible=False),
        Operation(
            *("password", "workspace_password", "person", of_one_or_more, unfinished, passwords_set),
            divisible=False,
            seconds_each=10,
        ),
        Operation(
            *("checkpoint", "workspace_checkpoint", "person", checkpoint_variables, unfinished, settle),
            leaves_traces=True,
        ),
        Operation(
            *("reset", "workspace_reset", "person", reset_variables, unfinished, settle),
            leaves_traces=True,
            divisible=False,
        ),
        Operation(
            *(RELEASE, "workspace_release", "person", release_variables, unfinished, seat_released),
            leaves_traces=True,
            divisible=False,
        ),
        Operation("clone", "workspace_clone", "clone", clone_variables, unfinished, settle, leaves_traces=True),
        one("alias"),
        Operation("rehearse", "workshop_rehearse", "clone", of_rehearsal, unfinished, told, leaves_traces=True),
        # One after the other: what is being collected is not removed meanwhile.
        Operation(
            *(COLLECT, "workshop_collect", "clone", of_those_left, nothing, collected),
            leaves_traces=True,
            seconds_each=60,
        ),
        Operation(
            *(TEARDOWN, "workshop_teardown", "clone", of_those_left, nothing, removed),
            divisible=False,
            leaves_traces=True,
            seconds_each=60,
        ),
        Operation("whitelist", "whitelist_set", "person", as_asked, unfinished, settle),
        Operation("repository", "repository_create", "person", as_asked, unfinished, settle),
        Operation(
            *("revive", "workspace_revive", "person", of_several, unfinished, revived),
            seconds_each=10,
        ),
        Operation("repair", "reconcile", "person", lambda job: {"repair": True}, unfinished, settle),
    ]
    return {operation.name: operation for operation in table}


def leaving(jobs: Jobs) -> set[str]:
    """Ids of workspaces that nobody may be given now: somebody asked for them to be stopped, removed or released, and
    that may not be done yet."""
    return {id for job in jobs.unfinished() if job.operation in _LEAVING for id in job.project_ids}


def _outcome(registry: Registry, id: str) -> dict[str, Any]:
    row = registry.find(id=id)
    return {
        "projectId": id,
        "projectName": row.name if row else None,
        "status": str(row.status) if row else "deleted",
        "error": row.error if row else None,
        "warnings": [row.git_problem] if row and row.git_problem else [],
    }


def _collected(outcome: dict[str, Any], entry: Mapping[str, Any] | None, ended: Ended) -> dict[str, Any]:
    """A seat's outcome of a collect: an error of its own, or of the run that did not get to it."""
    error = entry["error"] if entry else ended.error.sentence if ended.error else None
    if error:
        return {**outcome, "status": "error", "error": error}
    note = entry["note"] if entry else None
    return {**outcome, "error": None, "warnings": [note] if note else []}


def password_errors(ended: Ended) -> dict[str, AtelierError] | None:
    """Why workspaces did not get their passwords, by id; None where the run did not get that far."""
    if "seats" not in ended.results.get("workspace_passwords", {}):
        return None
    found = _seats_of(ended, "workspace_passwords")
    return {seat["id"]: error_from({**seat, "msg": seat["error"]}) for seat in found if seat["error"]}


def _seats_of(ended: Ended, module: str) -> list[dict[str, Any]]:
    """The seats in the module's result; none where it never came to that."""
    return list(untagged(ended.results.get(module, {}).get("seats", [])))


def raise_for(ended: Ended) -> None:
    """Raises what ended the run, if something did."""
    error: AtelierError | None = ended.error
    if error is not None:
        raise error
