"""Jobs as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...schemas.jobs import JobAnswer
from ..i18n import Words

OPEN = ("pending", "running")


def row(job: JobAnswer, names: Mapping[str, str], translator: Words) -> dict[str, Any]:
    """The job with words for what it does, and the names of its workspaces. ``names`` are those of existing workspaces
    by id."""
    known = {seat["projectId"]: seat.get("projectName") for seat in job["seats"]}
    of = [names.get(id) or known.get(id) or id for id in job["projectIds"]]
    return {
        **job,
        "what": translator.texts.get(f"job.{job['operation']}", job["operation"]),
        "of": of[0] if len(of) == 1 else translator.count("job.workspaces", len(of)) if of else "",
        "open": job["state"] in OPEN,
        "advance": translator("job.progress", **job["progress"]) if job["progress"]["total"] > 1 else "",
        "seats": [
            {**seat, "name": known[seat["projectId"]] or names.get(seat["projectId"]) or seat["projectId"]}
            for seat in job["seats"]
        ],
    }
