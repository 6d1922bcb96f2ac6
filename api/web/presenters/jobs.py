"""Jobs as the pages show them: the API's answers and words in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...schemas.jobs import JobAnswer
from ..i18n import Words

OPEN = ("pending", "running")


def row(job: JobAnswer, names: Mapping[str, str], translator: Words) -> dict[str, Any]:
    """``names`` are the names of existing workspaces by id."""
    done, total = job["progress"]["done"], job["progress"]["total"]
    is_open = job["state"] in OPEN
    known = {seat["projectId"]: seat.get("projectName") for seat in job["seats"]}
    of = [names.get(id) or known.get(id) or id for id in job["projectIds"]]
    return {
        "id": job["id"],
        "what": translator.texts.get(f"job.{job['operation']}", job["operation"]),
        "of": of[0] if len(of) == 1 else translator.count("job.workspaces", len(of)) if of else "",
        "state": job["state"],
        "state_word": translator(f"state.{job['state']}"),
        "open": is_open,
        "done": done,
        "total": total,
        "progress": translator("job.progress", done=done, total=total) if total > 1 else "",
        "created_at": job["createdAt"],
        "error": translator.translate(job["error"] or ""),
        "seats": [
            {
                "id": seat["projectId"],
                "name": seat.get("projectName") or names.get(seat["projectId"]) or seat["projectId"],
                "status": seat["status"],
                "status_word": translator(f"status.{seat['status']}"),
                "error": translator.translate(seat.get("error") or ""),
                "notes": [translator.translate(warning) for warning in seat.get("warnings", ())],
            }
            for seat in job["seats"]
        ],
    }
