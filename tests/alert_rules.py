"""Make docs/monitoring/atelier.rules.yml from the table of findings: ``PYTHONPATH=module_utils .venv/bin/python -m
tests.alert_rules``."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Any

import yaml
from atelier.common.texts import TEXTS

from api.monitoring.findings import FINDINGS, Finding, Severity, Unit

FOLDER = Path(__file__).parent.parent / "docs" / "monitoring"
RULES = FOLDER / "atelier.rules.yml"
# The only rule without a finding: an API that cannot be reached tells nothing.
UNREACHABLE = "AtelierUnreachable"
_HEAD = """\
# Alerts of Atelier for Prometheus. Made from the table of findings (api/monitoring/findings.py) by
# PYTHONPATH=module_utils .venv/bin/python -m tests.alert_rules. docs/monitoring/README.md says how to use them.
---
"""
_FIGURES = {
    Unit.BYTES: "{{ $value | humanize1024 }}B",
    Unit.SECONDS: "{{ $value | humanizeDuration }}",
    Unit.SHARE: "{{ $value | humanizePercentage }}",
}


class _Indented(yaml.SafeDumper):
    """Indents lists, as yamllint wants it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def rules() -> str:
    unreachable = _rule(
        UNREACHABLE,
        'up{job="atelier"} == 0',
        2,
        Severity.CRITICAL,
        "Prometheus cannot read Atelier's metrics on {{ $labels.instance }}.",
        "unreachable",
    )
    group = {"name": "atelier", "rules": [unreachable, *map(_rule_of, FINDINGS)]}
    return _HEAD + yaml.dump({"groups": [group]}, Dumper=_Indented, sort_keys=False, width=90)


def _rule_of(finding: Finding) -> dict[str, Any]:
    return _rule(finding.alert, finding.expression, finding.minutes, finding.severity, summary(finding), finding.anchor)


def summary(finding: Finding) -> str:
    """The finding's English text with Prometheus's placeholders."""
    text = TEXTS[f"attention.{finding.code}"]
    names = {name for _, name, _, _ in Formatter().parse(text) if name}
    figure = _FIGURES.get(finding.unit, "{{ $value }}")
    return text.format(**{name: figure if name == "figure" else f"{{{{ $labels.{name} }}}}" for name in names})


def _rule(alert: str, expr: str, minutes: int, severity: Severity, summary: str, anchor: str) -> dict[str, Any]:
    return {
        "alert": alert,
        "expr": expr,
        "for": f"{minutes}m",
        "labels": {"severity": str(severity)},
        "annotations": {"summary": summary, "runbook_url": f"https://{{{{ $labels.instance }}}}/runbook#{anchor}"},
    }


if __name__ == "__main__":
    RULES.parent.mkdir(exist_ok=True)
    RULES.write_text(rules())
