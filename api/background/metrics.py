"""Metrics for Prometheus, read on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from ..monitoring.disk_gauge import space
from ..services.services import Services


class _Collector:
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        services = self._services
        workspaces = GaugeMetricFamily("atelier_workspaces", "Workspaces by status", labels=["status"])
        rows = services.reads.all()
        statuses = Counter(str(services.presenter.status(row)[0]) for row in rows)
        for status in ("creating", "running", "stopped", "error"):
            workspaces.add_metric([status], statuses[status])
        jobs = GaugeMetricFamily("atelier_jobs", "Jobs that are kept, by state", labels=["state"])
        for state, count in Counter(str(job.state) for job in services.read_jobs.all(1000)).items():
            jobs.add_metric([state], count)
        memory = GaugeMetricFamily("atelier_workspace_memory_bytes", "Memory of a running seat", labels=["workspace"])
        cpu = GaugeMetricFamily("atelier_workspace_cpu_cores", "Cores a running seat uses", labels=["workspace"])
        for id, usage in services.sampler.usage.items():
            memory.add_metric([id], usage.memory)
            cpu.add_metric([id], usage.cpu)
        disk = GaugeMetricFamily("atelier_seat_disk_bytes", "Files of a running seat", labels=["workspace"])
        for id, used in services.disk.sizes.items():
            disk.add_metric([id], used)
        free = GaugeMetricFamily("atelier_disk_free_bytes", "Free space on Docker's disk", space().free)
        answers = float(services.watcher.available)
        docker = GaugeMetricFamily("atelier_docker_up", "Whether the Docker Engine answers", answers)
        up = GaugeMetricFamily("atelier_node_up", "Whether a machine's Docker Engine answers", labels=["node"])
        seats = GaugeMetricFamily("atelier_node_workspaces", "Workspaces of a machine", labels=["node"])
        promised = GaugeMetricFamily(
            "atelier_node_promised_bytes", "Memory that a machine's running workspaces may use", labels=["node"]
        )
        disk_of = GaugeMetricFamily(
            "atelier_node_disk_free_bytes", "Free space on the disk of a machine's Docker", labels=["node"]
        )
        by_node, memory_of = Counter(row.node for row in rows), services.reads.promised()
        for node in services.settings.site.node_names:
            up.add_metric([node], float(services.watcher.answers(node)))
            seats.add_metric([node], by_node[node])
            promised.add_metric([node], memory_of.get(node, 0))
            if room := services.sampler.disk(node):
                disk_of.add_metric([node], room.free)
        return [workspaces, jobs, memory, cpu, disk, free, docker, up, seats, promised, disk_of]


def collector(services: Services) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Collector(services))
    return registry
