"""Metrics for Prometheus, and the findings that they lead to, computed on demand."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from atelier.backup.create import last_backup
from atelier.common.messages import as_message
from atelier.common.timestamps import timestamp
from atelier.gateway.acme import read_attempts, read_request
from atelier.gateway.certificate import SERVED, machine_certificates_expire, read_certificate
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..monitoring.disk_gauge import own_disk
from ..monitoring.findings import Found, Labels, Samples, findings
from ..schemas.system import Attention
from ..services.services import Services

# A metric's name, its value, and its labels.
Sample = tuple[str, float, Labels]

# All metrics with what they mean. Those without a value now have no samples.
_HELP = {
    "atelier_workspaces": "Workspaces by status",
    "atelier_wakes": "Visits that started a sleeping workspace",
    "atelier_jobs": "Jobs that are kept, by state",
    "atelier_jobs_ended_last_hour": "Jobs that ended within an hour",
    "atelier_jobs_failed_last_hour": "Those of them that failed",
    "atelier_node_up": "Whether a machine's Docker Engine answers",
    "atelier_node_workspaces": "Workspaces of a machine",
    "atelier_node_promised_bytes": "Memory that a machine's running workspaces may use",
    "atelier_node_memory_available_bytes": "Memory of a machine that programs could still get",
    "atelier_node_memory_bytes": "Memory of a machine",
    "atelier_node_disk_free_bytes": "Free space on the disk of a machine's Docker",
    "atelier_node_disk_bytes": "Size of the disk of a machine's Docker",
    "atelier_node_disk_reserve_bytes": "Free space below which seats that fill the disk are stopped",
    "atelier_node_disk_inodes_short": "Whether less than 2 % of the disk's inodes are free",
    "atelier_disk_free_bytes": "Free space on the disk of the controller's Docker",
    "atelier_state_disk_free_bytes": "Free space on the state folder's disk",
    "atelier_docker_up": "Whether the controller's Docker Engine answers",
    "atelier_gateway_up": "Whether the gateway answers",
    "atelier_gateway_answers": "The gateway's answers for API and pages since its last reload",
    "atelier_gateway_recent_error_share": (
        "Share of 5xx among these within five minutes, without claims of a full workshop"
    ),
    "atelier_service_up": "Whether a service of the platform answers",
    "atelier_certificate_expires_timestamp_seconds": "When the gateway's certificate expires",
    "atelier_certificate_lifetime_seconds": "How long the gateway's certificate is valid in all",
    "atelier_certificate_renewal_failures": "Failed attempts to renew the certificate since the last one",
    "atelier_secure_context": "Whether browsers give the IDEs all features: HTTPS, or a name of this machine",
    "atelier_machine_certificate_expires_timestamp_seconds": (
        "When the first of a machine's certificates for connections between machines expires"
    ),
    "atelier_backup_configured": "Whether backups are scheduled",
    "atelier_backup_ever_succeeded": "Whether a good backup was ever made",
    "atelier_backup_last_failed": "Whether the last backup failed",
    "atelier_backup_last_success_timestamp_seconds": "When the last good backup was made; absent if none was",
    "atelier_workspace_memory_bytes": "Memory of a running seat",
    "atelier_workspace_cpu_cores": "Cores a running seat uses",
    "atelier_seat_disk_bytes": "Files of a running seat",
}
_COUNTERS = ("atelier_wakes", "atelier_gateway_answers")
_LAST_HOUR = timedelta(hours=1)
_FAILURES = ("failed", "error")
_KEPT_JOBS = 1000
_NOT_RENEWED, _BACKUP_FAILED = "certificate_not_renewed", "backup_failed"
# The reserve if the setting is 0: low disk space must be reported in any case.
_RESERVE = 5 * 1024**3


class _Collector:
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        found = _by_name([*_of_platform(self._services), *_of_seats(self._services)])
        for name, help in _HELP.items():
            samples = found.get(name, [])
            kind = CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily
            metric = kind(name, help, labels=list(samples[0][0]) if samples else [])
            for labels, value in samples:
                metric.add_metric(list(labels.values()), value)
            yield metric


def collector(services: Services) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Collector(services))
    return registry


def _by_name(samples: Iterable[Sample]) -> Samples:
    found: dict[str, list[tuple[Labels, float]]] = {}
    for name, value, labels in samples:
        found.setdefault(name, []).append((labels, value))
    return found


def _of_platform(services: Services) -> Iterator[Sample]:
    """The figures of the platform and its machines."""
    for part in (_workspaces, _jobs, _machines, _health, _https, _backup):
        yield from part(services)


def _of_seats(services: Services) -> Iterator[Sample]:
    """The figures of each running seat."""
    for id, usage in services.sampler.usage.items():
        yield "atelier_workspace_memory_bytes", usage.memory, {"workspace": id}
        yield "atelier_workspace_cpu_cores", usage.cpu, {"workspace": id}
    for id, used in services.disk.sizes.items():
        yield "atelier_seat_disk_bytes", used, {"workspace": id}


def _workspaces(services: Services) -> Iterator[Sample]:
    statuses = Counter(str(services.presenter.status(row)) for row in services.reads.all())
    for status in ("creating", "running", "stopped", "error"):
        yield "atelier_workspaces", statuses[status], {"status": status}
    for outcome in ("started", "failed", "refused"):
        yield "atelier_wakes", services.wakes.outcomes[outcome], {"outcome": outcome}


def _jobs(services: Services) -> Iterator[Sample]:
    jobs = services.read_jobs.all(_KEPT_JOBS)
    for state, count in Counter(str(job.state) for job in jobs).items():
        yield "atelier_jobs", count, {"state": state}
    since = timestamp(datetime.now(UTC) - _LAST_HOUR)
    ended = [str(job.state) for job in jobs if job.finished_at and job.finished_at >= since]
    yield "atelier_jobs_ended_last_hour", len(ended), {}
    yield "atelier_jobs_failed_last_hour", sum(state in _FAILURES for state in ended), {}


def _machines(services: Services) -> Iterator[Sample]:
    seats, promised = services.reads.seats(), services.reads.promised()
    for node in services.settings.site.node_names:
        machine = {"node": node}
        yield "atelier_node_up", float(services.watcher.answers(node)), machine
        yield "atelier_node_workspaces", seats.get(node, 0), machine
        yield "atelier_node_promised_bytes", promised.get(node, 0), machine
        if memory := services.sampler.machine_memory(node):
            yield "atelier_node_memory_available_bytes", memory.available, machine
            yield "atelier_node_memory_bytes", memory.total, machine
        if disk := services.sampler.disk(node):
            reserve = disk.reserve(services.settings.disk_reserve or _RESERVE)
            yield "atelier_node_disk_free_bytes", disk.free, machine
            yield "atelier_node_disk_bytes", disk.total, machine
            yield "atelier_node_disk_reserve_bytes", reserve, machine
            yield "atelier_node_disk_inodes_short", float(disk.inodes_short), machine
    yield "atelier_disk_free_bytes", own_disk().free, {}
    yield "atelier_state_disk_free_bytes", shutil.disk_usage(services.settings.site.state_dir).free, {}


def _health(services: Services) -> Iterator[Sample]:
    health = services.health
    yield "atelier_docker_up", float(services.watcher.available), {}
    if health.looked:
        yield "atelier_gateway_up", float(health.answers is not None), {}
    for status, count in (health.answers or {}).items():
        yield "atelier_gateway_answers", count, {"status": status}
    yield "atelier_gateway_recent_error_share", health.recent_error_share, {}
    for service, is_up in health.up.items():
        yield "atelier_service_up", float(is_up), {"service": service.name, "node": service.node}


def _https(services: Services) -> Iterator[Sample]:
    site = services.settings.site
    if certificate := read_certificate(site.state_dir / SERVED):
        lifetime = certificate.expires - certificate.begins
        yield "atelier_certificate_expires_timestamp_seconds", certificate.expires.timestamp(), {}
        yield "atelier_certificate_lifetime_seconds", lifetime.total_seconds(), {}
    if read_request(site.state_dir):
        yield "atelier_certificate_renewal_failures", read_attempts(site.state_dir).failures, {}
    yield "atelier_secure_context", float(site.secure_context), {}
    for node, moment in machine_certificates_expire(site).items():
        yield "atelier_machine_certificate_expires_timestamp_seconds", moment.timestamp(), {"node": node}


def _backup(services: Services) -> Iterator[Sample]:
    last = last_backup(services.settings.site.state_dir)
    yield "atelier_backup_configured", float(bool(services.settings.backup.times)), {}
    yield "atelier_backup_ever_succeeded", float(last.succeeded_at is not None), {}
    yield "atelier_backup_last_failed", float(last.error is not None), {}
    if last.succeeded_at:
        succeeded = datetime.fromisoformat(last.succeeded_at).timestamp()
        yield "atelier_backup_last_success_timestamp_seconds", succeeded, {}


def attention(services: Services) -> Attention:
    """The findings that hold now, the most severe first, and when the gateway's certificate expires."""
    certificate = read_certificate(services.settings.site.state_dir / SERVED)
    return {
        "success": True,
        "findings": [_with_reason(services, each).view() for each in findings(_by_name(_of_platform(services)))],
        "certificateExpires": timestamp(certificate.expires) if certificate else None,
    }


def _with_reason(services: Services, found: Found) -> Found:
    state_dir = services.settings.site.state_dir
    if found.finding.code == _NOT_RENEWED and (reason := read_attempts(state_dir).reason):
        return replace(found, reason=as_message(reason))
    if found.finding.code == _BACKUP_FAILED:
        return replace(found, reason=last_backup(state_dir).reason)
    return found
