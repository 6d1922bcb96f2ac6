"""What can be asked for: each operation's playbook, the variables it gets, and what its end means for the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.errors import AtelierError
from atelier.jobs import Job
from atelier.model import Status
from atelier.registry import Registry

from .runner.adapter import Ended
from .runner.queue import Operation


def operations(registry: Registry) -> Mapping[str, Operation]:
    """The table, by name. A job's variables hold ids only: what else a playbook needs stands in the rows."""

    def settle_new(job: Job, ended: Ended) -> list[dict[str, Any]]:
        """Rows that the run did not finish are in error, with its reason: nothing stays ``creating`` for ever."""
        reason = str(ended.error) if ended.error else "The run ended before this workspace was made."
        for id in job.project_ids:
            row = registry.find(id=id)
            if row is not None and row.status is Status.CREATING:
                registry.update(id, status=Status.ERROR, error=reason)
        return _outcomes(registry, job)

    def settle_present(job: Job, ended: Ended) -> list[dict[str, Any]]:
        return _outcomes(registry, job)

    def one(name: str, settle: Any = settle_present) -> Operation:
        return Operation(name, f"workspace_{name}", "person", lambda job: {"workspace_id": job.project_ids[0]}, settle)

    table = [
        one("create", settle_new),
        one("start"),
        one("stop"),
        one("delete"),
        Operation(
            "password",
            "workspace_password",
            "person",
            lambda job: {"workspace_id": job.project_ids[0], **job.variables},
            settle_present,
        ),
        Operation(
            "clone",
            "workspace_clone",
            "clone",
            lambda job: {"clone_source_id": job.variables["source_id"], "clone_ids": list(job.project_ids)},
            settle_new,
            mend="reconcile",
        ),
        Operation("repair", "reconcile", "person", lambda job: {"repair": True}, settle_present),
    ]
    return {operation.name: operation for operation in table}


def _outcomes(registry: Registry, job: Job) -> list[dict[str, Any]]:
    outcomes: list[dict[str, Any]] = []
    for id in job.project_ids:
        row = registry.find(id=id)
        outcomes.append(
            {
                "projectId": id,
                "projectName": row.name if row else None,
                "status": str(row.status) if row else "deleted",
                "error": row.error if row else None,
            }
        )
    return outcomes


def raise_for(ended: Ended) -> None:
    """Raises what ended the run, if something did."""
    error: AtelierError | None = ended.error
    if error is not None:
        raise error
