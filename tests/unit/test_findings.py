"""Findings: the table, its rules, its runbook and its texts are consistent."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.backup.create import note_failure
from atelier.common.messages import Message
from atelier.database.claims import ClaimResult, ClaimStatus, Participant
from atelier.gateway import acme, answers
from atelier.gateway.certificate import Certificate
from support import site

from api.auth.middleware import Caller
from api.background import metrics
from api.monitoring import platform_health
from api.monitoring.findings import FINDINGS, Samples, findings
from api.monitoring.platform_health import PlatformHealth
from api.routers.workshop import _claim
from api.web.i18n import languages, words
from api.web.runbook import FILE, anchor, runbook
from api.web.templating import rendered
from tests.alert_cases import CASES, NOW, Case, Figures
from tests.alert_rules import RULES, UNREACHABLE, rules

SERIES = re.compile(r'(\w+)="([^"]*)"')


def samples(figures: Figures) -> Samples:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for series, value in figures.items():
        found.setdefault(series.partition("{")[0], []).append((dict(SERIES.findall(series)), value))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_finding_holds_for_its_figures_only(case: Case) -> None:
    (found,) = findings(samples(case.holds), NOW)
    assert (found.finding.code, dict(found.labels)) == (case.code, case.labels)
    assert case.code not in {found.finding.code for found in findings(samples(case.does_not), NOW)}
    if case.figure.endswith(" 0s"):  # Prometheus has the seconds, too
        assert f" {case.figure.removesuffix(' 0s')}" in found.message


def test_each_finding_has_a_case_and_no_figures_are_no_finding() -> None:
    assert {case.code for case in CASES} == {finding.code for finding in FINDINGS}
    assert findings({}) == []


def test_the_metrics_tell_how_long_the_certificate_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, expires = (datetime(2026, 6, day, tzinfo=UTC) for day in (1, 2))
    monkeypatch.setattr(metrics, "read_certificate", lambda _: Certificate(frozenset(), begins, expires))
    services: Any = SimpleNamespace(settings=SimpleNamespace(site=site(tmp_path)))
    found = {name: value for name, value, _ in metrics._https(services)}
    assert found["atelier_certificate_expires_timestamp_seconds"] == expires.timestamp()
    assert found["atelier_certificate_lifetime_seconds"] == 24 * 3600


def test_each_metric_is_explained() -> None:
    made = set(re.findall(r'yield "(\w+)"', Path(str(metrics.__file__)).read_text()))
    assert made == metrics._HELP.keys()
    assert set(metrics._COUNTERS) < made


def test_the_most_severe_comes_first() -> None:
    every: Figures = {}
    for case in CASES:
        every |= case.holds
    found = [each.finding.severity.value for each in findings(samples(every), NOW)]
    assert found == sorted(found, key=["critical", "warning", "info"].index)
    assert len(set(found)) == 3


def test_the_rules_are_those_of_the_table() -> None:
    assert RULES.read_text() == rules()


def test_each_finding_has_its_section_of_the_runbook_and_each_alert_section_a_finding() -> None:
    anchors = set(re.findall(r'<h2 id="([^"]+)"', runbook()))
    alerts, _, tasks = FILE.read_text().partition("# Alerts\n")[2].partition("\n# Tasks\n")
    described = {anchor(heading) for heading in re.findall(r"^## (.+)$", alerts, re.MULTILINE)}
    assert described == {finding.anchor for finding in FINDINGS} | {"unreachable"}
    assert described < anchors
    assert {"rotate-the-token", "move-to-another-machine", "full-disk", "lost-database"} < anchors
    assert tasks
    assert UNREACHABLE in RULES.read_text()
    for section_of in re.split(r"^## ", alerts, flags=re.MULTILINE)[1:]:
        assert re.search(r"^- Do[:,]|^- See and do:|See \"", section_of, re.MULTILINE), section_of


def test_the_runbook_renders_no_html_of_its_own() -> None:
    assert "<script" not in runbook()
    assert "<code>docker info</code>" in runbook()


@pytest.mark.parametrize("language", sorted(languages()))
def test_the_page_tells_each_finding_in_the_readers_language(language: str) -> None:
    translator = words(language)
    for case in CASES:
        (found,) = findings(samples(case.holds), NOW)
        told = translator.texts[f"told.attention.{case.code}"]
        html = rendered("attention.html", translator, findings=[found.view()], certificateExpires=None)
        assert all(value in html for name, value in case.labels.items() if f"{{{name}}}" in told)
        assert f'href="/runbook#{case.code.replace("_", "-")}"' in html
        assert "{" not in html


def test_the_page_says_that_all_is_well() -> None:
    html = rendered("attention.html", words("de"), findings=[], certificateExpires=None)
    assert "Nichts braucht Aufmerksamkeit." in html
    assert "Zertifikat" not in html


def test_a_finding_says_why_where_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [
        (name, 1, {})
        for name in ("atelier_backup_last_failed", "atelier_certificate_renewal_failures", "atelier_secure_context")
    ]
    monkeypatch.setattr(metrics, "_of_platform", lambda _: failing)
    services: Any = SimpleNamespace(settings=SimpleNamespace(site=site(tmp_path)))

    def told() -> dict[str, str]:
        return {found["code"]: found["message"] for found in metrics.attention(services)["findings"]}

    without = {"backup_failed": "The last backup failed.", "certificate_not_renewed": told()["certificate_not_renewed"]}
    assert told() == without
    full = Message("backup.repository_full", repository="/mnt/backup")
    note_failure(tmp_path, Message("sentences", first=full, then=full.remedy))
    (tmp_path / acme.FOLDER).mkdir(parents=True)
    acme._note(tmp_path, acme.Attempts(1, reason=Message("backup.failed", repository="the authority", said="refused")))
    found = told()
    assert found["backup_failed"].startswith(
        f"{without['backup_failed']} The repository /mnt/backup has no space left. F"
    )
    assert found["certificate_not_renewed"].endswith("restic failed at the repository the authority: refused")
    # Of another version.
    (tmp_path / "backup" / "status.json").write_text('{"error": {"id": "no such one", "params": {}}}')
    assert told()["backup_failed"] == without["backup_failed"]


def test_the_dashboard_is_one() -> None:
    board = json.loads(RULES.with_name("grafana.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])


# --- The gateway's answers -------------------------------------------------------------------------------------------

STATISTICS = """# pxname,svname,status,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,
gateway,FRONTEND,OPEN,9,900,9,9,99,0,
api,api,no check,0,100,0,7,3,0,
api,BACKEND,UP,0,100,0,7,3,0,
pages,BACKEND,UP,1,50,2,0,2,0,
ide,BACKEND,UP,0,500,0,0,70,0,

"""


def test_only_the_answers_of_api_and_pages_count() -> None:
    assert answers.parse(STATISTICS) == {"1xx": 1, "2xx": 150, "3xx": 2, "4xx": 7, "5xx": 5}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Looks at a gateway that has given so many good and bad answers, at that second; returns the share of errors."""
    health = PlatformHealth(
        site(tmp_path),
        SimpleNamespace(),
        SimpleNamespace(read=lambda: None),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(health, "_services", dict)

    def look(second: float, good: int, bad: int) -> float:
        counted = {"2xx": good, "5xx": bad}
        monkeypatch.setattr(platform_health, "count_answers", lambda _: counted if good >= 0 else None)
        monkeypatch.setattr(platform_health.time, "monotonic", lambda: second)
        health.look()
        return health.recent_error_share

    look.health = health  # type: ignore[attr-defined]
    return look


def test_errors_of_the_last_five_minutes_count(looks: Any) -> None:
    assert looks(0, 1000, 500) == 0
    assert looks(15, 1015, 505) == 0.25
    assert looks(200, 1095, 505) == 0.05
    # The first ones are past by now.
    assert looks(400, 1195, 505) == 0
    assert looks.health.answers == {"2xx": 1195, "5xx": 505}


def test_claims_that_a_full_workshop_refuses_are_no_errors(looks: Any) -> None:
    async def full(_: Participant) -> ClaimResult:
        return ClaimResult(ClaimStatus.FULL, None)

    services: Any = SimpleNamespace(
        claim_batcher=SimpleNamespace(claim=full),
        audit=SimpleNamespace(refuse=lambda *_: None),
        health=looks.health,
    )

    def refuse() -> int:
        claim = _claim(services, Caller("192.0.2.7", "somebody"), Participant("Lena", "lena@example.com"))
        return asyncio.run(claim).status_code

    looks(0, 1000, 500)
    assert [refuse() for _ in range(20)] == [503] * 20
    assert looks(15, 1010, 520) == 0
    assert looks(30, 1015, 525) == 5 / 40
    # One that the gateway has not counted yet.
    assert looks(400, 1015, 525) == 0
    refuse()
    assert looks(415, 1035, 525) == 0


def test_a_refused_claim_has_the_contracts_german_sentence_and_a_code() -> None:
    statuses = [ClaimStatus.FULL, ClaimStatus.TOO_MANY]

    async def result(_: Participant) -> ClaimResult:
        return ClaimResult(statuses.pop(), None)

    services: Any = SimpleNamespace(
        claim_batcher=SimpleNamespace(claim=result),
        audit=SimpleNamespace(refuse=lambda *_: None),
        health=SimpleNamespace(refusals=0),
    )
    found = {}
    while statuses:
        claim = _claim(services, Caller("192.0.2.7", "somebody"), Participant("Lena", "lena@example.com"))
        answer = json.loads(asyncio.run(claim).body)
        assert answer["codes"]["message"]["id"] == "sentences"
        found[answer["codes"]["message"]["params"]["first"]["id"]] = (answer["error"], answer["message"])
    assert found == {
        "claim.full": (
            "Leider sind keine Workspaces mehr verfügbar. Bitte wenden Sie sich an den Workshop-Leiter.",
            "No seat is left. Ask the workshop's admin.",
        ),
        "claim.too_many": (
            "Von diesem Browser oder Anschluss aus sind schon so viele Plätze belegt, wie erlaubt sind.",
            "Claims from this browser or connection already hold as many seats as allowed. The workshop's admin can"
            " release a seat.",
        ),
    }


def test_few_answers_a_reload_and_silence_tell_nothing(looks: Any) -> None:
    looks(0, 100, 0)
    assert looks(15, 100, 10) == 0
    assert looks(30, 5, 0) == 0  # reloaded
    assert looks(45, 5, 20) == 20 / 20
    assert looks(60, -1, 0) == 1.0
    assert looks.health.answers is None
