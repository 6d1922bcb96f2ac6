"""The workshop day as its pages show it: the API's answers and words in, plain data out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import segno
from markupsafe import Markup

from ...schemas.seats import Card, Seat
from ...schemas.workshop import LastRehearsal, WorkshopStatus
from ...settings import Workshop
from ..i18n import Words

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


def seats(found: Sequence[Seat], faults: Mapping[str, str], now: datetime, translator: Words) -> dict[str, Any]:
    """The seats as rows, and the numbers of all, claimed, active and stopped seats. ``faults`` are errors by id."""
    rows = [
        {**seat(entry, now, translator), "fault": translator.translate(faults.get(entry["projectId"], ""))}
        for entry in found
    ]
    numbers = {
        "total": len(rows),
        "claimed": sum(bool(row["participant"]) for row in rows),
        "active": sum(row["active"] for row in rows),
        "away": sum(row["status"] != "running" for row in rows),
    }
    counts = [
        {"word": translator(f"admin.count.{name}"), "number": number, "kind": name} for name, number in numbers.items()
    ]
    return {"rows": rows, "counts": counts}


def seat(entry: Seat, now: datetime, translator: Words) -> dict[str, Any]:
    heartbeat, extended = entry["lastHeartbeat"], entry["extendedUntil"]
    return {
        "id": entry["projectId"],
        "name": entry["projectName"],
        "url": entry["workspaceUrl"],
        "status": entry["status"],
        "status_word": translator("status.asleep" if entry["stoppedFor"] == "idle" else f"status.{entry['status']}"),
        "participant": entry["name"] or "",
        "email": entry["email"] or "",
        "active": heartbeat is not None and (now - datetime.fromisoformat(heartbeat)).total_seconds() < _ACTIVE_SECONDS,
        "heartbeat": heartbeat or "",
        "extended": extended if extended and datetime.fromisoformat(extended) > now else "",
        "commit": entry["lastCommit"] or "",
        "denied": [f"{denied['domain']} ({denied['count']})" for denied in entry["deniedDomains"]],
        "starts": entry["status"] in ("stopped", "error"),
        "actions": _actions(entry, translator),
    }


def _actions(entry: Seat, translator: Words) -> list[dict[str, str]]:
    names = ["card", "extend", "checkpoint", "reset"] if entry["status"] != "creating" else []
    names += ["release"] if entry["name"] else []
    return [
        {"dialog": name, "label": translator(f"do.{name}"), "kind": "bad" if name == "release" else ""}
        for name in names
    ]


def at_release(configured: Workshop, keep_hours: float, translator: Words) -> list[str]:
    """Sentences on what a release will do to the seat's password and files."""
    password = "generate" if configured.generate_passwords else "keep"
    files = "reset" if configured.reset_on_release else "keep"
    return [translator(f"release.password.{password}"), translator(f"release.files.{files}", hours=f"{keep_hours:g}")]


def rehearsal(answer: LastRehearsal, translator: Words) -> dict[str, Any]:
    """The result of the newest rehearsal in sentences; empty before the first one."""
    job, verdict = answer["job"], answer["verdict"]
    if job is None:
        return {"kind": "", "sentences": [], "at": ""}
    at = job["finishedAt"] or job["createdAt"]
    if verdict is None and job["state"] in ("pending", "running"):
        return {"kind": "", "sentences": [translator("rehearse.running")], "at": at}
    if verdict is None:
        why = translator.translate(job["error"] or translator(f"state.{job['state']}"))
        return {"kind": "bad", "sentences": [translator("rehearse.failed", error=why)], "at": at}
    said = [translator.count("rehearse.go", verdict["seats"]) if verdict["go"] else translator("rehearse.no_go")]
    said += [translator.translate(reason) for reason in verdict["reasons"]]
    if verdict["p50"] is not None:
        said.append(
            translator.figure(
                translator("rehearse.times", made=verdict["madeIn"], p50=verdict["p50"], p95=verdict["p95"])
            )
        )
    limit = verdict["firstLimit"]
    what = translator.texts.get(f"limit.{limit['what']}", limit["what"])
    if "node" in limit:
        what = translator("limit.at", what=what, node=limit["node"])
    said.append(translator("rehearse.limit", what=what, seats=limit["seats"]))
    return {"kind": "" if verdict["go"] else "bad", "sentences": said, "at": at}


def cards(made: Sequence[Card], translator: Words) -> dict[str, Any]:
    """Seat cards with their QR codes, and the warning that goes with passwords."""
    shown = [
        {
            "name": card["projectName"],
            "participant": card["participant"] or "",
            "url": card["workspaceUrl"],
            "password": card["password"] or "",
            "error": translator("cards.failed", error=translator.translate(card["error"])) if card["error"] else "",
            "qr": qr_code(card["workspaceUrl"]),
        }
        for card in made
    ]
    return {"cards": shown, "once": translator("cards.once") if any(card["password"] for card in shown) else ""}


def qr_code(text: str) -> Markup:
    """The text as an SVG element, which needs no style and no script."""
    drawn = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        drawn, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=2, svgclass=None, lineclass=None
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 - segno's own drawing, which holds no text
