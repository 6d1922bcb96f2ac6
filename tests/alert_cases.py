"""Figures for which each finding holds, and figures for which it does not, as the API exports them. Unit tests check
the table of findings with them, and tests/api the rules, with promtool."""

from __future__ import annotations

from dataclasses import dataclass, field

# Seconds since 1970 at which the figures are looked at: promtool's clock begins there, too. No alert waits that long.
NOW = 90000
_DAY = 86400
_HERE = 'node="controller"'

# The figures by metric with its labels.
Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """``figure``: the value as the alert's text has it. ``labels``: those of the alert."""

    code: str
    holds: Figures
    does_not: Figures
    figure: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def _disk(free: float) -> Figures:
    return {
        f"atelier_node_disk_free_bytes{{{_HERE}}}": free,
        f"atelier_node_disk_reserve_bytes{{{_HERE}}}": 5 * 2**30,
    }


def _certificate(days: float, life: float = 90) -> Figures:
    return {
        "atelier_certificate_expires_timestamp_seconds": NOW + days * _DAY,
        "atelier_certificate_lifetime_seconds": life * _DAY,
    }


def _between_machines(days: float) -> Figures:
    return {'atelier_machine_certificate_expires_timestamp_seconds{node="alpha"}': NOW + days * _DAY}


def _service(name: str, node: str, value: float) -> Figures:
    return {f'atelier_service_up{{service="{name}",node="{node}"}}': value}


def _backup(days: float, configured: float = 1) -> Figures:
    return {
        "atelier_backup_last_success_timestamp_seconds": NOW - days * _DAY,
        "atelier_backup_configured": configured,
    }


def _no_backup(configured: float) -> Figures:
    return {"atelier_backup_ever_succeeded": 0, "atelier_backup_configured": configured}


def _jobs(failed: float, ended: float) -> Figures:
    return {"atelier_jobs_failed_last_hour": failed, "atelier_jobs_ended_last_hour": ended}


def _memory(available: float) -> Figures:
    return {
        'atelier_node_memory_available_bytes{node="alpha"}': available,
        'atelier_node_memory_bytes{node="alpha"}': 16 * 2**30,
        # Of another machine, whose figures count for itself only.
        f"atelier_node_memory_available_bytes{{{_HERE}}}": 8 * 2**30,
        f"atelier_node_memory_bytes{{{_HERE}}}": 16 * 2**30,
    }


_ON_CONTROLLER, _ON_ALPHA = {"node": "controller"}, {"node": "alpha"}
CASES = (
    Case("docker_away", {"atelier_docker_up": 0}, {"atelier_docker_up": 1}),
    Case(
        "node_away",
        {'atelier_node_up{node="alpha"}': 0},
        # This case is reported as docker_away.
        {'atelier_node_up{node="alpha"}': 1, f"atelier_node_up{{{_HERE}}}": 0},
        labels=_ON_ALPHA,
    ),
    Case("disk_low", _disk(8 * 2**30), _disk(11 * 2**30), "8GiB", _ON_CONTROLLER),
    # Then it is full.
    Case("disk_low", _disk(6 * 2**30), _disk(4 * 2**30), "6GiB", _ON_CONTROLLER),
    Case("disk_full", _disk(2**30), _disk(5 * 2**30), "1GiB", _ON_CONTROLLER),
    Case(
        "inodes_short",
        {f"atelier_node_disk_inodes_short{{{_HERE}}}": 1},
        {f"atelier_node_disk_inodes_short{{{_HERE}}}": 0},
        labels=_ON_CONTROLLER,
    ),
    Case(
        "state_disk_full",
        {"atelier_state_disk_free_bytes": 2**29},
        {"atelier_state_disk_free_bytes": 2**30},
        "512MiB",
    ),
    Case("memory_low", _memory(2**30), _memory(2 * 2**30), "1GiB", _ON_ALPHA),
    Case("certificate_ends_soon", _certificate(10), _certificate(15), "10d 0h 0m 0s"),
    Case("certificate_ends_soon", _certificate(13.5), _certificate(2), "13d 12h 0m 0s"),
    Case("certificate_ends_soon", _certificate(10, 60), _certificate(10, 30), "10d 0h 0m 0s"),
    Case("certificate_ends", _certificate(2), _certificate(4), "2d 0h 0m 0s"),
    # Of a private authority, for a day.
    Case("certificate_ends", _certificate(0.125, 1), _certificate(0.25, 1), "3h 0m 0s"),
    Case("certificate_ends", _certificate(0.5), _certificate(-1), "12h 0m 0s"),
    Case("certificate_expired", _certificate(-0.05), _certificate(0.05)),
    Case(
        "certificate_not_renewed",
        {"atelier_certificate_renewal_failures": 3},
        {"atelier_certificate_renewal_failures": 0},
        "3",
    ),
    Case("machine_certificate_ends", _between_machines(20), _between_machines(22), "20d 0h 0m 0s", _ON_ALPHA),
    Case("machine_certificate_ends", _between_machines(0.5), _between_machines(-1), "12h 0m 0s", _ON_ALPHA),
    Case("machine_certificate_expired", _between_machines(-0.05), _between_machines(0.05), labels=_ON_ALPHA),
    Case("gateway_away", {"atelier_gateway_up": 0}, {"atelier_gateway_up": 1}),
    Case(
        "gateway_errors",
        {"atelier_gateway_recent_error_share": 0.25},
        {"atelier_gateway_recent_error_share": 0.05},
        "25%",
    ),
    Case(
        "recorder_away",
        _service("recorder", "alpha", 0),
        _service("recorder", "alpha", 1) | _service("squid", "alpha", 0),
        labels={"service": "recorder", **_ON_ALPHA},
    ),
    Case(
        "whitelist_away",
        _service("squid", "controller", 0),
        _service("squid", "controller", 1) | _service("git", "controller", 0),
        labels={"service": "squid", **_ON_CONTROLLER},
    ),
    Case(
        "git_away",
        _service("git", "controller", 0),
        _service("git", "controller", 1),
        labels={"service": "git", **_ON_CONTROLLER},
    ),
    Case("backup_failed", {"atelier_backup_last_failed": 1}, {"atelier_backup_last_failed": 0}),
    Case("backup_missing", _no_backup(1), _no_backup(0)),
    Case("backup_missing", _no_backup(1), {**_no_backup(1), "atelier_backup_ever_succeeded": 1}),
    Case("backup_old", _backup(2.5), _backup(1.5), "2d 12h 0m 0s"),
    # Only by hand, now and then.
    Case("backup_old", _backup(40), _backup(40, configured=0), "40d 0h 0m 0s"),
    Case("jobs_failing", _jobs(3, 20), _jobs(2, 2), "3"),
    # Three of a hundred are what people mistype.
    Case("jobs_failing", _jobs(30, 100), _jobs(3, 100), "30"),
    Case(
        "seats_in_error",
        {'atelier_workspaces{status="error"}': 2, 'atelier_workspaces{status="running"}': 5},
        {'atelier_workspaces{status="error"}': 0, 'atelier_workspaces{status="running"}': 5},
        "2",
        {"status": "error"},
    ),
    Case("plain_http", {"atelier_secure_context": 0}, {"atelier_secure_context": 1}),
)
