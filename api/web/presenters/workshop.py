"""The workshop day as its pages show it: the API's answers and words in, plain data out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import segno
from markupsafe import Markup

from ...schemas.seats import Seat
from ...schemas.workshop import LastRehearsal, WorkshopStatus
from ...settings import Workshop
from ..i18n import Words
from .jobs import OPEN

# code-server sends a heartbeat about once a minute while it is open.
_ACTIVE_SECONDS = 180


def places(status: WorkshopStatus, now: datetime, translator: Words) -> dict[str, str]:
    """The number of free seats, as a sentence and its kind."""
    if "endsAt" in status and datetime.fromisoformat(status["endsAt"]) <= now:
        return {"kind": "bad", "text": translator("error.WORKSHOP_OVER")}
    if status["total"] == 0:
        return {"kind": "", "text": translator("workshop.not_yet")}
    if status["available"] == 0:
        key = "workshop.full" if status["claimed"] >= status["total"] else "workshop.asleep"
        return {"kind": "bad", "text": translator(key)}
    return {"kind": "", "text": translator.count("workshop.free", status["available"])}


def seats(found: Sequence[Seat], faults: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """The seats as rows, and the numbers of all, claimed, active and stopped seats. ``faults`` are errors by id."""
    rows = [{**seat(entry, now), "fault": faults.get(entry["projectId"], "")} for entry in found]
    counts = {
        "total": len(rows),
        "claimed": sum(bool(row["name"]) for row in rows),
        "active": sum(row["active"] for row in rows),
        "away": sum(row["status"] != "running" for row in rows),
    }
    return {"rows": rows, "counts": counts}


def seat(entry: Seat, now: datetime) -> dict[str, Any]:
    """The seat with whether it is used now, the end of its extension if that is to come, and the possible actions."""
    heartbeat, extended = entry["lastHeartbeat"], entry["extendedUntil"]
    actions = ["card", "extend", "checkpoint", "reset"] if entry["status"] != "creating" else []
    return {
        **entry,
        "active": heartbeat is not None and (now - datetime.fromisoformat(heartbeat)).total_seconds() < _ACTIVE_SECONDS,
        "extended": extended if extended and datetime.fromisoformat(extended) > now else "",
        "actions": [*actions, *(["release"] if entry["name"] else [])],
    }


def at_release(configured: Workshop, keep_hours: float, translator: Words) -> list[str]:
    """Sentences on what a release will do to the seat's password and files."""
    password = "generate" if configured.generate_passwords else "keep"
    files = "reset" if configured.reset_on_release else "keep"
    hours = translator.figure(f"{keep_hours:g}")
    return [translator(f"release.password.{password}"), translator(f"release.files.{files}", hours=hours)]


def rehearsal(answer: LastRehearsal, translator: Words) -> dict[str, Any]:
    """The result of the newest rehearsal in sentences; empty before the first one."""
    job, verdict = answer["job"], answer["verdict"]
    if job is None:
        return {"kind": "", "sentences": [], "at": ""}
    at = job["finishedAt"] or job["createdAt"]
    if verdict is None and job["state"] in OPEN:
        return {"kind": "", "sentences": [translator("rehearse.running")], "at": at}
    if verdict is None:
        why = translator.translate(job["error"] or translator(f"state.{job['state']}"))
        return {"kind": "bad", "sentences": [translator("rehearse.failed", error=why)], "at": at}
    said = [translator.count("rehearse.go", verdict["seats"]) if verdict["go"] else translator("rehearse.no_go")]
    said += [translator.figure(translator.translate(reason)) for reason in verdict["reasons"]]
    if verdict["p50"] is not None:
        times = translator("rehearse.times", made=verdict["madeIn"], p50=verdict["p50"], p95=verdict["p95"])
        said.append(translator.figure(times))
    limit = verdict["firstLimit"]
    what = translator.texts.get(f"limit.{limit['what']}", limit["what"])
    if "node" in limit:
        what = translator("limit.at", what=what, node=limit["node"])
    said.append(translator("rehearse.limit", what=what, seats=limit["seats"]))
    return {"kind": "" if verdict["go"] else "bad", "sentences": said, "at": at}


def qr_code(text: str) -> Markup:
    """The text as an SVG element, which needs no style and no script."""
    drawn = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        drawn, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=2, svgclass=None, lineclass=None
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 - segno's own drawing, which holds no text
