"""Findings: the rules in Prometheus, the metrics that they name, and the API's own evaluation."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.monitoring.findings import FINDINGS
from tests.alert_cases import CASES, NOW, Figures
from tests.alert_rules import RULES, UNREACHABLE, summary
from tests.api.running import Api, eventually

INSTANCE = "workshop.example.org:443"
OF = {finding.code: finding for finding in FINDINGS}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def series(figures: Figures) -> list[dict[str, str]]:
    def named(metric: str) -> str:
        name, _, labels = metric.partition("{")
        return f'{name}{{instance="{INSTANCE}"{"," if labels else ""}{labels or "}"}'

    return [
        {"series": named(metric), "values": f"{value:.0f}x{NOW // 900}" if value > 1 else f"{value}x{NOW // 900}"}
        for metric, value in figures.items()
    ]


def alert(code: str, labels: dict[str, str], figure: str) -> dict[str, Any]:
    text = re.sub(r"{{ \$value[^}]*}}B?", figure, summary(OF[code]))
    for name, value in labels.items():
        text = text.replace(f"{{{{ $labels.{name} }}}}", value)
    return {
        "exp_labels": {"severity": str(OF[code].severity), "instance": INSTANCE, **labels},
        "exp_annotations": {"summary": text, "runbook_url": f"https://{INSTANCE}/runbook#{OF[code].anchor}"},
    }


def test_prometheus_takes_the_rules() -> None:
    assert f"SUCCESS: {len(FINDINGS) + 1} rules found" in promtool("check", "rules", RULES)


def test_prometheus_alerts_where_the_page_finds_something(tmp_path: Path) -> None:
    """The same figures as in tests/unit/test_findings.py."""
    tests: list[dict[str, Any]] = []
    for case in CASES:
        for figures, expected in ((case.holds, [alert(case.code, case.labels, case.figure)]), (case.does_not, [])):
            looked = {"eval_time": f"{NOW // 60}m", "alertname": OF[case.code].alert, "exp_alerts": expected}
            tests.append({"interval": "15m", "input_series": series(figures), "alert_rule_test": [looked]})
    gone = {"exp_labels": {"severity": "critical", "instance": INSTANCE, "job": "atelier"}}
    gone["exp_annotations"] = {
        "summary": f"Prometheus cannot read Atelier's metrics on {INSTANCE}.",
        "runbook_url": f"https://{INSTANCE}/runbook#unreachable",
    }
    looked = {"eval_time": "30m", "alertname": UNREACHABLE, "exp_alerts": [gone]}
    up = {"series": f'up{{job="atelier",instance="{INSTANCE}"}}', "values": "1 1 0x40"}
    tests.append({"interval": "1m", "input_series": [up], "alert_rule_test": [looked]})
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15m", "tests": tests}))
    promtool("test", "rules", file)


def test_every_metric_of_rules_and_dashboard_is_exported(api: Api) -> None:
    exported = set(re.findall(r"^# TYPE (\w+) ", api.get("/metrics").text, re.MULTILINE))
    board = json.loads(RULES.with_name("grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    named = {
        name for text in (*asked, *(rule["expr"] for rule in rules)) for name in re.findall(r"\batelier_\w+", text)
    }
    assert len(named) > 15
    assert not named - exported


def test_the_api_tells_what_prometheus_would(api: Api) -> None:
    """This installation has no gateway."""

    def codes() -> set[str]:
        return {found["code"] for found in api.get("/api/attention").json()["findings"]}

    eventually(lambda: "gateway_away" in codes(), "the gateway was looked for")
    answer = api.get("/api/attention").json()
    found = next(found for found in answer["findings"] if found["code"] == "gateway_away")
    assert found["runbook"] == "/runbook#gateway-away"
    assert found["severity"] == "critical"
    assert found["codes"]["message"]["id"] == "attention.gateway_away"
    assert answer["certificateExpires"] is None
    assert "docker_away" not in codes()
    assert re.search(r"^atelier_gateway_up 0\.0$", api.get("/metrics").text, re.MULTILINE)


@pytest.mark.parametrize(
    ("language", "text"), [("de", "Das Gateway antwortet nicht"), ("fr", "La passerelle ne répond")]
)
def test_the_page_has_the_same_findings(api: Api, language: str, text: str) -> None:
    html = api.get("/pages/attention", headers={"Accept-Language": language}).text
    assert text in html
    assert 'href="/runbook#gateway-away"' in html
    assert '<h2 id="gateway-away">' in api.get("/runbook").text
