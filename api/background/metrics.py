"""Metrics for Prometheus, and the findings that they lead to, computed on demand."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from atelier.backup.create import last_backup
from atelier.common.messages import as_message
from atelier.common.timestamps import timestamp
from atelier.gateway.acme import read_attempts, read_request
from atelier.gateway.certificate import machine_certificates_expire, served_certificate
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..monitoring.disk_gauge import space
from ..monitoring.findings import Found, findings, samples_of
from ..services.services import Services

_LAST_HOUR = timedelta(hours=1)
_FAILURES = ("failed", "error")
_KEPT_JOBS = 1000
_NOT_RENEWED, _BACKUP_FAILED = "certificate_not_renewed", "backup_failed"
# The reserve if the setting is 0: low disk space must be reported in any case.
_RESERVE = 5 * 1024**3


class _Collector:
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        return [*platform_metrics(self._services), *seat_metrics(self._services)]


def collector(services: Services) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Collector(services))
    return registry


def certificate_expires(services: Services) -> datetime | None:
    """When the gateway's certificate expires; None without TLS."""
    certificate = served_certificate(services.settings.site.state_dir)
    return certificate.expires if certificate else None


def platform_metrics(services: Services) -> list[Metric]:
    """The figures of the platform and its machines."""
    parts = (_workspaces, _jobs, _machines, _health, _https, _between_machines, _backup)
    return [metric for part in parts for metric in part(services)]


def seat_metrics(services: Services) -> list[Metric]:
    """The figures of each running seat."""
    memory = GaugeMetricFamily("atelier_workspace_memory_bytes", "Memory of a running seat", labels=["workspace"])
    cpu = GaugeMetricFamily("atelier_workspace_cpu_cores", "Cores a running seat uses", labels=["workspace"])
    for id, usage in services.sampler.usage.items():
        memory.add_metric([id], usage.memory)
        cpu.add_metric([id], usage.cpu)
    disk = GaugeMetricFamily("atelier_seat_disk_bytes", "Files of a running seat", labels=["workspace"])
    for id, used in services.disk.sizes.items():
        disk.add_metric([id], used)
    return [memory, cpu, disk]


def _workspaces(services: Services) -> list[Metric]:
    workspaces = GaugeMetricFamily("atelier_workspaces", "Workspaces by status", labels=["status"])
    statuses = Counter(str(services.presenter.status(row)[0]) for row in services.reads.all())
    for status in ("creating", "running", "stopped", "error"):
        workspaces.add_metric([status], statuses[status])
    wakes = CounterMetricFamily("atelier_wakes", "Visits that started a sleeping workspace", labels=["outcome"])
    for outcome in ("started", "failed", "refused"):
        wakes.add_metric([outcome], services.wakes.outcomes[outcome])
    return [workspaces, wakes]


def _jobs(services: Services) -> list[Metric]:
    kept = GaugeMetricFamily("atelier_jobs", "Jobs that are kept, by state", labels=["state"])
    jobs = services.read_jobs.all(_KEPT_JOBS)
    for state, count in Counter(str(job.state) for job in jobs).items():
        kept.add_metric([state], count)
    since = timestamp(datetime.now(UTC) - _LAST_HOUR)
    ended = [str(job.state) for job in jobs if job.finished_at and job.finished_at >= since]
    failed = sum(state in _FAILURES for state in ended)
    return [
        kept,
        GaugeMetricFamily("atelier_jobs_ended_last_hour", "Jobs that ended within an hour", len(ended)),
        GaugeMetricFamily("atelier_jobs_failed_last_hour", "Those of them that failed", failed),
    ]


def _machines(services: Services) -> list[Metric]:
    def by_node(name: str, help: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, help, labels=["node"])

    up = by_node("atelier_node_up", "Whether a machine's Docker Engine answers")
    seats = by_node("atelier_node_workspaces", "Workspaces of a machine")
    promised = by_node("atelier_node_promised_bytes", "Memory that a machine's running workspaces may use")
    available = by_node("atelier_node_memory_available_bytes", "Memory of a machine that programs could still get")
    memory = by_node("atelier_node_memory_bytes", "Memory of a machine")
    free = by_node("atelier_node_disk_free_bytes", "Free space on the disk of a machine's Docker")
    total = by_node("atelier_node_disk_bytes", "Size of the disk of a machine's Docker")
    reserve = by_node("atelier_node_disk_reserve_bytes", "Free space below which seats that fill the disk are stopped")
    short = by_node("atelier_node_disk_inodes_short", "Whether less than 2 % of the disk's inodes are free")
    seats_of, promised_of = services.reads.seats(), services.reads.promised()
    for node in services.settings.site.node_names:
        up.add_metric([node], float(services.watcher.answers(node)))
        seats.add_metric([node], seats_of.get(node, 0))
        promised.add_metric([node], promised_of.get(node, 0))
        if has := services.sampler.machine_memory(node):
            available.add_metric([node], has.available)
            memory.add_metric([node], has.total)
        if disk := services.sampler.disk(node):
            free.add_metric([node], disk.free)
            total.add_metric([node], disk.total)
            reserve.add_metric([node], disk.reserve(services.settings.disk_reserve or _RESERVE))
            short.add_metric([node], float(disk.inodes_short))
    state_free = shutil.disk_usage(services.settings.site.state_dir).free
    return [
        *(up, seats, promised, available, memory, free, total, reserve, short),
        GaugeMetricFamily("atelier_disk_free_bytes", "Free space on the disk of the controller's Docker", space().free),
        GaugeMetricFamily("atelier_state_disk_free_bytes", "Free space on the state folder's disk", state_free),
    ]


def _health(services: Services) -> list[Metric]:
    health = services.health
    docker = GaugeMetricFamily(
        "atelier_docker_up", "Whether the controller's Docker Engine answers", float(services.watcher.available)
    )
    gateway = GaugeMetricFamily("atelier_gateway_up", "Whether the gateway answers", labels=[])
    answers = CounterMetricFamily(
        "atelier_gateway_answers", "The gateway's answers for API and pages since its last reload", labels=["status"]
    )
    errors = GaugeMetricFamily(
        "atelier_gateway_recent_error_share",
        "Share of 5xx among these within five minutes, without claims of a full workshop",
        health.recent_error_share,
    )
    services_up = GaugeMetricFamily(
        "atelier_service_up", "Whether a service of the platform answers", labels=["service", "node"]
    )
    if health.looked:
        gateway.add_metric([], float(health.answers is not None))
    for status, count in (health.answers or {}).items():
        answers.add_metric([status], count)
    for service, is_up in health.up.items():
        services_up.add_metric([service.name, service.node], float(is_up))
    return [docker, gateway, answers, errors, services_up]


def _https(services: Services) -> list[Metric]:
    site = services.settings.site
    expires = GaugeMetricFamily(
        "atelier_certificate_expires_timestamp_seconds", "When the gateway's certificate expires", labels=[]
    )
    lifetime = GaugeMetricFamily(
        "atelier_certificate_lifetime_seconds", "How long the gateway's certificate is valid in all", labels=[]
    )
    if certificate := served_certificate(site.state_dir):
        expires.add_metric([], certificate.expires.timestamp())
        lifetime.add_metric([], (certificate.expires - certificate.begins).total_seconds())
    failures = GaugeMetricFamily(
        "atelier_certificate_renewal_failures", "Failed attempts to renew the certificate since the last one", labels=[]
    )
    if read_request(site.state_dir):
        failures.add_metric([], read_attempts(site.state_dir).failures)
    secure = GaugeMetricFamily(
        "atelier_secure_context",
        "Whether browsers give the IDEs all features: HTTPS, or a name of this machine",
        float(site.secure_context),
    )
    return [expires, lifetime, failures, secure]


def _between_machines(services: Services) -> list[Metric]:
    expires = GaugeMetricFamily(
        "atelier_machine_certificate_expires_timestamp_seconds",
        "When the first of a machine's certificates for connections between machines expires",
        labels=["node"],
    )
    for node, moment in machine_certificates_expire(services.settings.site).items():
        expires.add_metric([node], moment.timestamp())
    return [expires]


def _backup(services: Services) -> list[Metric]:
    last = last_backup(services.settings.site.state_dir)
    succeeded = GaugeMetricFamily(
        "atelier_backup_last_success_timestamp_seconds", "When the last good backup was made; absent if none was"
    )
    if last.succeeded_at:
        succeeded.add_metric([], datetime.fromisoformat(last.succeeded_at).timestamp())
    scheduled, failed = bool(services.settings.backup.times), last.error is not None
    return [
        GaugeMetricFamily("atelier_backup_configured", "Whether backups are scheduled", float(scheduled)),
        GaugeMetricFamily(
            "atelier_backup_ever_succeeded", "Whether a good backup was ever made", float(last.succeeded_at is not None)
        ),
        GaugeMetricFamily("atelier_backup_last_failed", "Whether the last backup failed", float(failed)),
        succeeded,
    ]


def attention(services: Services) -> list[Found]:
    """What holds now, the most severe first."""
    return [_with_reason(services, each) for each in findings(samples_of(platform_metrics(services)))]


def _with_reason(services: Services, found: Found) -> Found:
    state_dir = services.settings.site.state_dir
    if found.finding.code == _NOT_RENEWED and (reason := read_attempts(state_dir).reason):
        return replace(found, reason=as_message(reason))
    if found.finding.code == _BACKUP_FAILED:
        return replace(found, reason=last_backup(state_dir).reason)
    return found
