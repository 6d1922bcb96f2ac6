"""The end of a workshop as its page shows it."""

from __future__ import annotations

from typing import Any

from ...core.formatting import natural_key
from ...schemas.jobs import JobAnswer
from ...schemas.workshop import Collected
from ..i18n import Words
from .jobs import OPEN


def ending(answer: Collected, translator: Words) -> dict[str, Any]:
    """The progress, the collected work, and what ending the workshop now would lose."""
    here = {row["projectId"] for row in answer["workspaces"]}
    ours = here | set(answer["job"]["projectIds"] if answer["job"] else ())
    seats = [row for row in answer["workspaces"] if not row["isBase"]]
    collected = sorted(answer["seats"], key=lambda seat: natural_key(seat["projectName"]))
    jobs = [job for job in (answer["job"], answer["teardown"]) if job is not None]
    job = max(jobs, key=lambda job: str(job["createdAt"]), default=None)
    under_way = job is not None and job["state"] in OPEN
    return {
        "job": job,
        "under_way": under_way,
        "said": _said(job, len(seats), translator) if job and not under_way else None,
        "rows": [seat for seat in collected if seat["projectId"] in ours],
        "missing": [row["projectName"] for row in seats if not row["collected"]],
        "seats": len(seats),
        "collects": bool(here) and not under_way,
        "ends": bool(seats) and not under_way,
    }


def _said(job: JobAnswer, seats: int, translator: Words) -> dict[str, str] | None:
    """The result of the newest job, as a sentence and its kind."""
    what = f"ending.{job['operation']}"
    if job["state"] != "successful":
        error = translator.translate(job["error"] or "") or translator(f"state.{job['state']}")
        return {"kind": "bad", "text": translator(f"{what}.failed", error=error)}
    failed = [seat["projectName"] or seat["projectId"] for seat in job["seats"] if seat["status"] == "error"]
    if job["operation"] == "collect" and failed:
        return {"kind": "bad", "text": translator("ending.collect.some", names=", ".join(failed))}
    if job["operation"] == "collect" or not seats:
        return {"kind": "", "text": translator(f"{what}.done")}
    return None  # the next workshop is there already
