"""The end of a workshop as its page shows it: the API's answers and words in, plain data out."""

from __future__ import annotations

from typing import Any

from ...core.formatting import natural_key, size
from ...schemas.jobs import JobAnswer
from ...schemas.workshop_teardown import Collected, CollectedSeat
from ..i18n import Words
from .jobs import OPEN

_COMMIT_SHOWN = 8


def ending(answer: Collected, translator: Words) -> dict[str, Any]:
    """The progress, the collected work, and what ending the workshop now would lose."""
    here = {row["projectId"] for row in answer["workspaces"]}
    ours = here | set(answer["job"]["projectIds"] if answer["job"] else ())
    seats = [row for row in answer["workspaces"] if not row["isBase"]]
    collected = sorted(answer["seats"], key=lambda seat: natural_key(seat["projectName"]))
    job = _newest(answer["job"], answer["teardown"])
    under_way = job is not None and job["state"] in OPEN
    return {
        "under_way": under_way,
        "progress": _progress(job, translator) if job and under_way else None,
        "said": _said(job, len(seats), translator) if job and not under_way else None,
        "rows": [_row(seat, translator) for seat in collected if seat["projectId"] in ours],
        "missing": ", ".join(row["projectName"] for row in seats if not row["collected"]),
        "seats": translator.count("ending.seats", len(seats)),
        "collects": bool(here) and not under_way,
        "ends": bool(seats) and not under_way,
    }


def _newest(collect: JobAnswer | None, teardown: JobAnswer | None) -> JobAnswer | None:
    jobs = [job for job in (collect, teardown) if job is not None]
    return max(jobs, key=lambda job: str(job["createdAt"]), default=None)


def _progress(job: JobAnswer, translator: Words) -> dict[str, Any]:
    done, total = job["progress"]["done"], job["progress"]["total"]
    return {
        "done": done,
        "total": total,
        "text": translator(f"ending.{job['operation']}.running", done=done, total=total),
    }


def _said(job: JobAnswer, seats: int, translator: Words) -> dict[str, str]:
    """The result of the newest job, as a sentence and its kind."""
    what = f"ending.{job['operation']}"
    if job["state"] != "successful":
        return {
            "kind": "bad",
            "text": translator(
                f"{what}.failed", error=translator.translate(job["error"] or "") or translator(f"state.{job['state']}")
            ),
        }
    failed = [seat["projectName"] or seat["projectId"] for seat in job["seats"] if seat["status"] == "error"]
    if job["operation"] == "collect" and failed:
        return {"kind": "bad", "text": translator("ending.collect.some", names=", ".join(failed))}
    if job["operation"] == "collect" or not seats:
        return {"kind": "", "text": translator(f"{what}.done")}
    return {"kind": "", "text": ""}  # the next workshop is there already


def _row(seat: CollectedSeat, translator: Words) -> dict[str, str]:
    return {
        "id": seat["projectId"],
        "name": seat["projectName"],
        "size": translator.figure(size(seat["bytes"], " ")) if seat["file"] else "",
        "collected_at": seat["collectedAt"] or "",
        "git": _git(seat, translator),
        "error": translator.translate(seat["error"] or ""),
    }


def _git(seat: CollectedSeat, translator: Words) -> str:
    if seat["pushed"]:
        return translator("ending.pushed", branch=seat["branch"] or "", commit=(seat["commit"] or "")[:_COMMIT_SHOWN])
    return translator.translate(seat["note"]) if seat["note"] else translator("ending.not_pushed")
