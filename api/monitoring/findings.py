"""The findings that an operator must act on. The pages, the API and docs/monitoring/atelier.rules.yml use this table.

A condition is evaluated on the samples of ``/metrics`` as Prometheus does it, so that both find the same.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from atelier.common.messages import Message

from ..core.formatting import duration, size
from ..schemas.system import FindingView

_DAY = 86400
_OPERATORS = {"<": operator.lt, ">": operator.gt, ">=": operator.ge, "==": operator.eq}

Labels = Mapping[str, str]
# By metric: the value for each set of labels.
Samples = Mapping[str, list[tuple[Labels, float]]]


class Severity(StrEnum):
    """``critical``: people are hindered now. ``warning``: they will be. ``info``: good to know."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


CRITICAL, WARNING, INFO = Severity


class Unit(StrEnum):
    """A share is between 0 and 1."""

    COUNT = "count"
    BYTES = "bytes"
    SECONDS = "seconds"
    SHARE = "share"


@dataclass(frozen=True)
class Condition:
    """A metric compared with a number, or with ``factor`` times the metric of that name with equal labels. ``of``: the
    metric's value, the time until it (a time stamp), or since it, in seconds. ``labels``: those that a sample must
    have, or must not have (``!name``)."""

    metric: str
    sign: Literal["<", ">", ">=", "=="]
    bound: float | str
    factor: float = 1
    of: Literal["value", "until", "since"] = "value"
    labels: Labels | None = None

    @property
    def expression(self) -> str:
        """The condition in PromQL."""
        wanted = [
            f'{name.removeprefix("!")}{"!=" if name.startswith("!") else "="}"{value}"'
            for name, value in (self.labels or {}).items()
        ]
        metric = self.metric + (f"{{{','.join(wanted)}}}" if wanted else "")
        left = {"value": metric, "until": f"{metric} - time()", "since": f"time() - {metric}"}[self.of]
        if isinstance(self.bound, str):
            return f"{left} {self.sign} {self.factor:g} * {self.bound}"
        return f"{left} {self.sign} {self.bound:g}"

    @property
    def unit(self) -> Unit:
        """The unit of the compared value, by the metric's name."""
        if self.of != "value":
            return Unit.SECONDS
        return next((unit for unit in (Unit.BYTES, Unit.SHARE) if self.metric.endswith(f"_{unit}")), Unit.COUNT)

    def matches(self, samples: Samples, now: float) -> Iterator[tuple[Labels, float]]:
        """The samples for which it holds: their labels and the value that was compared."""
        for labels, raw in samples.get(self.metric, ()):
            value = {"value": raw, "until": raw - now, "since": now - raw}[self.of]
            bound = self._bound(samples, labels)
            if self._is_for(labels) and bound is not None and _OPERATORS[self.sign](value, bound):
                yield labels, value

    def _is_for(self, labels: Labels) -> bool:
        return all(
            (labels.get(name.removeprefix("!")) == value) is not name.startswith("!")
            for name, value in (self.labels or {}).items()
        )

    def _bound(self, samples: Samples, labels: Labels) -> float | None:
        if not isinstance(self.bound, str):
            return self.bound
        return next((self.factor * value for its, value in samples.get(self.bound, ()) if its == labels), None)


@dataclass(frozen=True)
class Finding:
    """Something to act on, if all its conditions hold. ``minutes``: how long they must hold until Prometheus alerts.
    Its texts are ``attention.<code>`` with the samples' labels and ``figure``, its section in docs/runbook.md is
    ``anchor``."""

    code: str
    severity: Severity
    minutes: int
    conditions: tuple[Condition, ...]

    @property
    def unit(self) -> Unit:
        """The unit of its first condition."""
        return self.conditions[0].unit

    @property
    def anchor(self) -> str:
        return self.code.replace("_", "-")

    @property
    def runbook(self) -> str:
        """The address of its runbook entry on the pages' host."""
        return f"/runbook#{self.anchor}"

    @property
    def alert(self) -> str:
        """The alert's name in Prometheus."""
        return f"Atelier{self.code.title().replace('_', '')}"

    @property
    def expression(self) -> str:
        """The condition in PromQL."""
        return " and ".join(condition.expression for condition in self.conditions)


@dataclass(frozen=True)
class Found:
    """A finding that holds: for which labels, with which value, and why, where the API knows."""

    finding: Finding
    labels: Labels
    value: float
    reason: Message | None = None

    @property
    def message(self) -> Message:
        found = Message(f"attention.{self.finding.code}", figure=_figure(self.finding.unit, self.value), **self.labels)
        return found if self.reason is None else Message("sentences", first=found, then=self.reason)

    def view(self) -> FindingView:
        """The finding as the contract shows it."""
        return {
            "code": self.finding.code,
            "severity": self.finding.severity.value,
            "message": self.message,
            "labels": dict(self.labels),
            "value": self.value,
            "runbook": self.finding.runbook,
        }


def _figure(unit: Unit, value: float) -> str:
    match unit:
        case Unit.BYTES:
            return size(int(value), " ")
        case Unit.SECONDS:
            return duration(value)
        case Unit.SHARE:
            return f"{value:.0%}"
        case Unit.COUNT:
            return f"{value:g}"


_DISK_FREE, _DISK_RESERVE = "atelier_node_disk_free_bytes", "atelier_node_disk_reserve_bytes"
_MEMORY_AVAILABLE, _MEMORY = "atelier_node_memory_available_bytes", "atelier_node_memory_bytes"
_CERTIFICATE = "atelier_certificate_expires_timestamp_seconds"
_MACHINE = "atelier_machine_certificate_expires_timestamp_seconds"
_LAST_BACKUP = "atelier_backup_last_success_timestamp_seconds"
_JOBS_FAILED, _JOBS_ENDED = "atelier_jobs_failed_last_hour", "atelier_jobs_ended_last_hour"
_BACKUPS_WANTED = Condition("atelier_backup_configured", "==", 1)
# Private authorities issue certificates for a day, which are renewed when a third of that is left.
_LATE = Condition(_CERTIFICATE, "<", "atelier_certificate_lifetime_seconds", 0.2, of="until")


def _ends(certificate: str, sign: Literal["<", ">="], days: int) -> Condition:
    return Condition(certificate, sign, days * _DAY, of="until")


def _away(service: str) -> Condition:
    return Condition("atelier_service_up", "==", 0, labels={"service": service})


FINDINGS = (
    Finding("docker_away", CRITICAL, 2, (Condition("atelier_docker_up", "==", 0),)),
    Finding("node_away", CRITICAL, 2, (Condition("atelier_node_up", "==", 0, labels={"!node": "controller"}),)),
    Finding(
        "disk_low",
        WARNING,
        10,
        (Condition(_DISK_FREE, "<", _DISK_RESERVE, 2), Condition(_DISK_FREE, ">=", _DISK_RESERVE)),
    ),
    Finding("disk_full", CRITICAL, 1, (Condition(_DISK_FREE, "<", _DISK_RESERVE),)),
    Finding("inodes_short", CRITICAL, 1, (Condition("atelier_node_disk_inodes_short", "==", 1),)),
    Finding("state_disk_full", CRITICAL, 1, (Condition("atelier_state_disk_free_bytes", "<", 1e9),)),
    Finding("memory_low", WARNING, 5, (Condition(_MEMORY_AVAILABLE, "<", _MEMORY, 0.1),)),
    Finding("certificate_ends_soon", WARNING, 60, (_ends(_CERTIFICATE, "<", 14), _ends(_CERTIFICATE, ">=", 3), _LATE)),
    Finding("certificate_ends", CRITICAL, 5, (_ends(_CERTIFICATE, "<", 3), _ends(_CERTIFICATE, ">=", 0), _LATE)),
    Finding("certificate_expired", CRITICAL, 1, (_ends(_CERTIFICATE, "<", 0),)),
    Finding("certificate_not_renewed", WARNING, 5, (Condition("atelier_certificate_renewal_failures", ">", 0),)),
    Finding("machine_certificate_ends", WARNING, 60, (_ends(_MACHINE, "<", 21), _ends(_MACHINE, ">=", 0))),
    Finding("machine_certificate_expired", CRITICAL, 1, (_ends(_MACHINE, "<", 0),)),
    Finding("gateway_away", CRITICAL, 2, (Condition("atelier_gateway_up", "==", 0),)),
    Finding("gateway_errors", WARNING, 2, (Condition("atelier_gateway_recent_error_share", ">", 0.05),)),
    Finding("recorder_away", CRITICAL, 2, (_away("recorder"),)),
    Finding("whitelist_away", CRITICAL, 2, (_away("squid"),)),
    Finding("git_away", WARNING, 5, (_away("git"),)),
    Finding("backup_failed", WARNING, 5, (Condition("atelier_backup_last_failed", "==", 1),)),
    Finding("backup_missing", WARNING, 1440, (Condition("atelier_backup_ever_succeeded", "==", 0), _BACKUPS_WANTED)),
    Finding("backup_old", CRITICAL, 5, (Condition(_LAST_BACKUP, ">", 2 * _DAY, of="since"), _BACKUPS_WANTED)),
    Finding(
        "jobs_failing",
        WARNING,
        5,
        (Condition(_JOBS_FAILED, ">=", 3), Condition(_JOBS_FAILED, ">", _JOBS_ENDED, 0.1)),
    ),
    Finding("seats_in_error", WARNING, 10, (Condition("atelier_workspaces", ">", 0, labels={"status": "error"}),)),
    Finding("plain_http", INFO, 60, (Condition("atelier_secure_context", "==", 0),)),
)


def findings(samples: Samples, now: float | None = None) -> list[Found]:
    """The findings whose conditions hold, the most severe first."""
    moment = time.time() if now is None else now
    found = [Found(finding, *each) for finding in FINDINGS for each in _holding(finding, samples, moment)]
    order = list(Severity)
    return sorted(found, key=lambda each: order.index(each.finding.severity))


def _holding(finding: Finding, samples: Samples, now: float) -> Iterator[tuple[Labels, float]]:
    """The labels for which all conditions hold, with the first one's value."""
    first, *others = finding.conditions
    for labels, value in first.matches(samples, now):
        if all(any(labels == its for its, _ in other.matches(samples, now)) for other in others):
            yield labels, value
