"""The limits of a seat's container, as Docker's SDK takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .models import SeatSpec

# The platform's containers have Docker's default, 1024, or more. It has no effect on a machine that is not busy.
CPU_SHARES = 64
# If the host runs out of memory, the kernel kills a seat's process before the platform's, which have -500 or 0.
_OOM_SCORE_ADJ = 500
_PROCESSES = 2048
_OPEN_FILES = 16384
# Storage drivers that can limit the size of a container's layer. Overlay can on XFS with project quotas only.
_WITH_QUOTA = ("btrfs", "zfs", "devicemapper")


def creation_limits(spec: SeatSpec, cores: int, quota: int) -> dict[str, Any]:
    """Arguments of ``create_host_config``. ``cores`` are the host's; ``quota`` is in bytes, 0 for none.

    Swap is not granted on top of the memory. Core dumps are off: one is as large as the memory of its process.
    """
    from docker.types import Ulimit

    ulimits = [Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES), Ulimit(name="core", soft=0, hard=0)]
    if spec.file_size:
        ulimits.append(Ulimit(name="fsize", soft=spec.file_size, hard=spec.file_size))
    return {
        "mem_limit": spec.memory,
        "memswap_limit": spec.memory,
        "nano_cpus": _nano_cpus(spec.cpus, cores),
        "cpu_shares": CPU_SHARES,
        "pids_limit": _PROCESSES,
        "oom_score_adj": _OOM_SCORE_ADJ,
        "ulimits": ulimits,
        "storage_opt": {"size": str(quota)} if quota else None,
    }


def changed_limits(memory: int, cpus: float, cores: int) -> dict[str, int]:
    """The body of Docker's ``/containers/<id>/update``: the limits that can change while a container exists."""
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": _nano_cpus(cpus, cores),
        "CpuShares": CPU_SHARES,
    }


def may_have_quota(info: Mapping[str, Any]) -> bool:
    """Whether Docker's storage driver may be able to limit a layer, by ``GET /info``. Only an attempt shows it: for
    example, XFS can be mounted without project quotas."""
    status = {str(key): str(value) for key, value in info.get("DriverStatus") or ()}
    on_xfs = info.get("Driver") == "overlay2" and status.get("Backing Filesystem") == "xfs"
    return on_xfs or info.get("Driver") in _WITH_QUOTA


def _nano_cpus(cpus: float, cores: int) -> int:
    """Docker refuses a container that asks for more cores than the host has."""
    return int(min(cpus, cores) * 1e9)
