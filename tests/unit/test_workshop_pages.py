"""The pages of a workshop day: places, seats, cards, the rehearsal and the end."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.messages import Message

from api.monitoring.seat_activity import denied_domains, moment_of
from api.web.i18n import words
from api.web.presenters import workshop
from api.web.presenters import workshop_teardown as ending
from api.web.templating import rendered

EN = words("en")


def test_how_many_places_are_free() -> None:
    now = datetime(2026, 4, 19, 10, 0, tzinfo=UTC)
    for status, key in (
        ({"total": 0, "available": 0, "claimed": 0}, "workshop.not_yet"),
        ({"total": 2, "available": 0, "claimed": 2}, "workshop.full"),
        ({"total": 2, "available": 0, "claimed": 1}, "workshop.asleep"),
        ({"total": 2, "available": 1, "claimed": 1, "endsAt": "2026-04-19T09:59:00.000Z"}, "error.WORKSHOP_OVER"),
    ):
        assert workshop.places(status, now, EN)["text"] == EN(key)
    assert workshop.places({"total": 2, "available": 1, "claimed": 1}, now, EN)["text"] == "1 seat is free."


def test_a_seat_is_active_while_its_ide_beats() -> None:
    now = datetime(2026, 4, 19, 10, 0, tzinfo=UTC)
    found = [
        _seat(name="Max", email="max@example.com", lastHeartbeat="2026-04-19T09:58:30.000Z"),
        _seat(deniedDomains=[{"domain": "example.org", "count": 3}]),
        _seat(status="stopped", lastHeartbeat="2026-04-19T09:50:00.000Z"),
    ]
    shown = workshop.seats(found, {}, now)
    assert shown["counts"] == {"total": 3, "claimed": 1, "active": 1, "away": 1}
    assert [row["active"] for row in shown["rows"]] == [True, False, False]
    assert ["release" in row["actions"] for row in shown["rows"]] == [True, False, False]
    page = {"history": [], "group": "day", "docker": ""}
    html = rendered("seats.html", EN, seats=shown, **page)
    assert '<span class="mode bad">example.org (3)</span>' in html
    assert html.count('data-call="POST /api/workshop/seats/{id}/start"') == 1
    assert html.count('class="bad" data-dialog="release"') == 1
    assert "Active\u202f: </span>" in rendered("seats.html", words("fr"), seats=shown, **page)
    broken = _seat(status="error", extendedUntil="2026-04-19T11:00:00.000Z")
    seats = workshop.seats([broken], {broken["projectId"]: Message("container_gone")}, now)
    html = rendered("seats.html", words("de"), seats=seats, **page)
    assert '<span class="reason">Sein Container wurde entfernt.</span>' in html
    assert '<time datetime="2026-04-19T11:00:00.000Z" data-clock="short">' in html
    assert workshop.seat({**broken, "extendedUntil": "2026-04-19T09:00:00.000Z"}, now)["extended"] == ""


def test_a_card_has_its_address_as_a_qr_code_that_needs_no_style() -> None:
    made = {"projectName": "Workshop 1", "workspaceUrl": "http://x.localhost/", "participant": None}

    def shown(password: str | None) -> str:
        card = {**made, "password": password, "error": None}
        return rendered("cards.html", EN, cards=[card], qr_code=workshop.qr_code)

    html = shown("secret-1")
    (drawn,) = re.findall(r"<svg .*?</svg>", html)
    assert "style" not in drawn
    assert "secret-1" in html
    assert EN("cards.once") in html
    assert EN("cards.once") not in shown(None)


def test_a_rehearsal_is_told_in_sentences() -> None:
    when = {"createdAt": "2026-04-19T09:00:00.000Z", "finishedAt": "2026-04-19T09:01:00.000Z"}
    job = {"state": "successful", "error": None, **when}
    verdict = {"go": True, "seats": 20, "madeIn": 9.5, "p50": 1.2, "p95": 3.4, "reasons": []}
    verdict["firstLimit"] = {"what": "memory", "seats": 37}
    told = workshop.rehearsal({"job": job, "verdict": verdict}, EN)
    assert told["sentences"][0] == "Go: 20 seats were created and opened at once."
    assert told["sentences"][-1] == "First limit: memory, at 37 seats."
    elsewhere = {**verdict, "firstLimit": {"what": "disk", "seats": 37, "node": "alpha"}}
    told = workshop.rehearsal({"job": job, "verdict": elsewhere}, EN)
    assert told["sentences"][-1] == "First limit: disk of alpha, at 37 seats."
    no_go = {**verdict, "go": False, "p50": None, "reasons": ["The disk would be full."]}
    told = workshop.rehearsal({"job": job, "verdict": no_go}, EN)
    assert (told["kind"], told["sentences"][:2]) == ("bad", ["No go.", "The disk would be full."])
    slow = {**no_go, "reasons": [Message("slow", seconds="12.3")]}
    assert "12,3 s" in workshop.rehearsal({"job": job, "verdict": slow}, words("de"))["sentences"][1]
    for state, key in (("running", "rehearse.running"), ("canceled", "rehearse.failed")):
        told = workshop.rehearsal({"job": {"state": state, "error": None, **when}, "verdict": None}, EN)
        assert told["sentences"] == [EN(key, error=EN(f"state.{state}"))]
    assert workshop.rehearsal({"job": None, "verdict": None}, EN)["sentences"] == []


def test_the_end_of_a_workshop_is_told() -> None:
    def told(state: str | None, operation: str = "collect", **more: Any) -> dict[str, Any]:
        job = {"operation": operation, "state": state, "error": "No space.", "projectIds": ["a", "b"], "seats": []}
        job |= {"createdAt": "2026-01-01T00:00:00.000Z", "progress": {"done": 1, "total": 2}, **more.pop("job", {})}
        jobs = {"job": None, "teardown": None} | ({} if state is None else {_JOB_KEYS[operation]: job})
        return ending.ending({"workspaces": workshop_now, "seats": [], **jobs, **more}, EN)

    workshop_now = [
        {"projectId": id, "projectName": name, "isBase": name == "Base", "collected": name == "Base 1"}
        for id, name in (("a", "Base 1"), ("b", "Base 2"), ("c", "Base"))
    ]
    before = told(None)
    assert (before["missing"], before["seats"], before["ends"], before["rows"]) == (["Base 2"], 2, True, [])
    assert 'data-seats="2 seats" data-missing="Base 2"' in rendered("workshop_teardown.html", EN, ending=before)
    meanwhile = told("running")
    html = rendered("workshop_teardown.html", EN, ending=meanwhile)
    assert "The work in the seats is being collected: 1 of 2." in html
    assert not meanwhile["collects"] and not meanwhile["ends"] and meanwhile["said"] is None
    assert told("successful")["said"] == {"kind": "", "text": "All work is collected."}
    seats = [{"projectId": "b", "projectName": "Base 2", "status": "error"}]
    assert "Not collected: Base 2." in told("successful", job={"seats": seats})["said"]["text"]
    assert told("failed")["said"] == {"kind": "bad", "text": "Collecting failed: No space."}
    # Seats that are there after the end are those of the next workshop.
    assert told("successful", "teardown")["said"] is None
    workshop_now = []
    over = told("successful", "teardown")
    assert over["said"]["text"] == "The workshop is over: its seats are removed."
    assert not over["collects"]

    entry = {"projectId": "a", "projectName": "Base 1", "file": "x", "bytes": 1536, "collectedAt": "now", "error": None}
    entry |= {"pushed": True, "branch": "clone/base-1", "commit": "0123456789abcdef", "note": None}
    lost = {
        **entry,
        "projectId": "b",
        "projectName": "Base 10",
        "file": None,
        "pushed": False,
        "note": "Its container is gone.",
    }
    former = {**entry, "projectId": "of-last-year"}
    ended = told("successful", seats=[lost, {**entry, "projectName": "Base 9"}, former])
    assert [row["projectName"] for row in ended["rows"]] == ["Base 9", "Base 10"]
    first, second = re.findall(r"<li>.*?</li>", rendered("workshop_teardown.html", EN, ending=ended), re.DOTALL)
    assert "<span>1.5 KB</span>" in first and "Pushed: clone/base-1 at 01234567<" in first
    assert "Its container is gone." in second and "download" not in second


_JOB_KEYS = {"collect": "job", "teardown": "teardown"}


def _seat(**values: Any) -> dict[str, Any]:
    return {
        "projectId": "0123456789ab",
        "projectName": "Workshop 1",
        "workspaceUrl": "http://0123456789ab.localhost/",
        "status": "running",
        "stoppedFor": None,
        "name": None,
        "email": None,
        "lastHeartbeat": None,
        "lastCommit": None,
        "deniedDomains": [],
        "extendedUntil": None,
        **values,
    }


def test_what_the_proxy_refused_is_told_by_domain() -> None:
    log = [("TCP_DENIED/403", "a.example:443"), ("TCP_DENIED/403", "http://a.example/x"), ("TCP_TUNNEL/200", "b:443")]
    assert denied_domains([*log, ("TCP_DENIED/403", "http://[broken")]) == [("a.example", 2), ("http://[broken", 1)]
    assert moment_of(1733234567.5) == "2024-12-03T14:02:47.500Z"
    assert [moment_of(seconds) for seconds in (0, -1, 1e18, float("nan"))] == [None] * 4


@pytest.mark.parametrize(
    ("generate", "reset", "words"),
    [
        (True, True, ("nobody knows", "reset; the present ones are kept for 24")),
        (False, False, ("stays", "files are kept")),
    ],
)
def test_what_a_release_will_do_is_said_before(generate: bool, reset: bool, words: tuple[str, str]) -> None:
    configured: Any = SimpleNamespace(generate_passwords=generate, reset_on_release=reset)
    for sentence, word in zip(workshop.at_release(configured, 24.0, EN), words, strict=True):
        assert word in sentence
