"""Measures how long containers replaced by resets have been kept, independent of the wall clock.

The names have the time of the wall clock. After a jump forward that would make all of them old at once. So the age is
counted in the time that the machine has been up, and what passed in earlier boots is added up in a file. It is a lower
bound: time without any run of Atelier between two boots is not counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..common.atomic_files import write_atomically

_FILE = "kept.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class _Record:
    """``kept`` by name: the seconds counted at the time of writing, and the machine's uptime then, in ``boot``."""

    boot: str
    kept: Mapping[str, tuple[float, float]]


def ages(state_dir: Path, names: Collection[str]) -> dict[str, float]:
    """Seconds that each of the containers has been kept for certain. One that was never noted has just come."""
    record = _read(state_dir)
    boot, up = _boot()
    found = {}
    for name in names:
        counted, since = record.kept.get(name, (0.0, up))
        # How long an earlier boot lasted after its last note is unknown.
        found[name] = counted + (max(up - since, 0.0) if record.boot == boot else 0.0)
    return found


def note(state_dir: Path, names: Collection[str]) -> None:
    """Records which containers are kept, and for how long so far."""
    boot, up = _boot()
    kept = {name: (age, up) for name, age in sorted(ages(state_dir, names).items())}
    write_atomically(state_dir / _FILE, json.dumps({"boot": boot, "kept": kept}).encode(), mode=0o600)


def _boot() -> tuple[str, float]:
    """This boot, and the seconds since it began, sleep included."""
    return _BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)


def _read(state_dir: Path) -> _Record:
    """The last record. After a missing or damaged file all containers count as new, which keeps them longer."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        record = json.loads((state_dir / _FILE).read_bytes())
        kept = {str(name): (float(counted), float(since)) for name, (counted, since) in record["kept"].items()}
        return _Record(str(record["boot"]), kept)
    return _Record("", {})
