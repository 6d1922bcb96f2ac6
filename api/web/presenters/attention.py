"""Presents the findings on the operator's page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from atelier.common.timestamps import timestamp

from ...monitoring.findings import Found, Severity
from ..i18n import Words

_DOTS = {Severity.CRITICAL: "error", Severity.WARNING: "creating", Severity.INFO: "stopped"}


def section(found: Sequence[Found], expires: datetime | None, translator: Words) -> dict[str, Any]:
    """The findings, and when the certificate expires."""
    return {
        "findings": [_row(each, translator) for each in found],
        "certificate_expires": timestamp(expires) if expires else "",
    }


def _row(found: Found, translator: Words) -> dict[str, str]:
    severity = found.finding.severity
    return {
        "severity": severity,
        "severity_word": translator(f"attention.{severity}"),
        "dot": _DOTS[severity],
        "text": translator.figure(translator.translate(found.message)),
        "runbook": found.finding.runbook,
    }
