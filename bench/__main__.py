"""Takes all figures, prints them as they come, and writes docs/bench.md; or prints those of the simulation, of
several machines, of two hundred seats, or of visits to seats that sleep."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

from atelier.common.models import Network, ProxyMode, Quotas, Workspace
from atelier.database.workspace_store import WorkspaceStore, new_id

from .api import measure_api, measure_wake_alone
from .baseline import baseline
from .cluster import measure_cluster
from .density import measure_density
from .egress import measure_egress
from .egress_recorder import measure_recorder
from .git import measure_git
from .host import ROOT, available_memory_gib, installation, peak_memory_mib, play
from .report import Report
from .revival import measure_revival
from .simulation import simulate

SEATS = 20
CROWD = 50
CROWD_FREE_GIB = 14
ROWS = 2000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["all", "cluster", "density", "simulation", "wake"], default="all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "bench.md")
    options = parser.parse_args()
    report = Report()
    if options.what == "simulation":
        simulate(report)
        return 1 if report.missed else 0
    if options.what == "cluster":
        measure_cluster(report, options.rounds)
        return 1 if report.missed else 0
    if options.what in ("density", "wake"):
        with installation() as variables:
            {"density": measure_density, "wake": measure_wake_alone}[options.what](report, variables)
        return 1 if report.missed else 0
    _store(report)
    with installation() as variables:
        print("warming up", flush=True)
        play(variables, "workspace_create", workspace_name="base")
        baseline(2)
        _create_one(report, variables, options.rounds)
        _clone_seats(report, variables, options.rounds)
        _memory_of_many_seats(report, variables)
        play(variables, "workshop_teardown", workshop_base="base", confirm=True, collected="ignore")
        measure_api(report, variables)
        play(variables, "workshop_teardown", workshop_base="base", confirm=True, collected="ignore")
        measure_egress(report, variables, options.rounds)
        measure_git(report, variables, options.rounds)
    measure_recorder(report)
    measure_revival(report)
    options.report.write_text(report.markdown(options.rounds))
    print(f"written: {options.report}")
    return 1 if report.missed else 0


def _create_one(report: Report, variables: Path, rounds: int) -> None:
    baselines, ours = [], []
    for number in range(rounds):
        baselines.append(baseline(1))
        ours.append(play(variables, "workspace_create", workspace_name=f"one-{number}"))
        play(variables, "workspace_delete", workspace_name=f"one-{number}")
    raw, own = statistics.median(baselines), statistics.median(ours)
    _ratio(report, "create one workspace", own, raw, 1, 1.2)


def _clone_seats(report: Report, variables: Path, rounds: int) -> None:
    baselines, ours = [], []
    for _ in range(rounds):
        baselines.append(baseline(SEATS))
        ours.append(
            play(variables, "workspace_clone", clone_source="base", clone_count=SEATS, clone_generate_passwords=True)
        )
        play(
            variables,
            "workshop_teardown",
            workshop_base="base",
            workshop_keep_base=True,
            confirm=True,
            collected="ignore",
        )
    raw, own = statistics.median(baselines), statistics.median(ours)
    _ratio(report, f"clone {SEATS} seats, a password each", own, raw, 1.25, 1.5)


def _memory_of_many_seats(report: Report, variables: Path) -> None:
    seconds = play(variables, "workspace_clone", clone_source="base", clone_count=CROWD)
    free = available_memory_gib()
    report.add(
        f"memory free with {CROWD} seats running (made in {seconds:.1f} s)",
        f"{free:.1f} GiB",
        "-",
        f"at least {CROWD_FREE_GIB} GiB",
        free >= CROWD_FREE_GIB,
    )
    peak = peak_memory_mib()
    report.add("largest process of all these playbooks", f"{peak:.0f} MiB", "-", "under 150 MiB", peak < 150)


def _store(report: Report) -> None:
    quotas = Quotas(10 * ROWS, 10 * ROWS, True, 8, 16384)
    networks = {ProxyMode.NONE: Network("bench", IPv4Network("172.28.0.0/16"))}
    with tempfile.TemporaryDirectory() as folder, WorkspaceStore(Path(folder), networks, quotas) as store:
        source = store.reserve([Workspace(new_id(), "base", "empty")])[0]
        reserving = [
            _milliseconds(lambda: store.reserve_clones(source, new_id(), [None] * CROWD, "default"))
            for _ in range(ROWS // CROWD)
        ]
        listing = [_milliseconds(store.all) for _ in range(20)]
    reserve, listed = statistics.median(reserving), statistics.median(listing)
    report.add(f"database: reserve {CROWD} seats", f"{reserve:.1f} ms", "-", "under 20 ms", reserve < 20)
    report.add(f"database: list {ROWS} rows", f"{listed:.1f} ms", "-", "under 10 ms", listed < 10)


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def _ratio(report: Report, what: str, own: float, raw: float, factor: float, allowance: float) -> None:
    goal = raw * factor + allowance
    formula = f"{factor:g} x baseline + {allowance:g} s" if factor != 1 else f"baseline + {allowance:g} s"
    report.add(what, f"{own:.2f} s ({own / raw:.2f} x)", f"{raw:.2f} s", f"{formula} = {goal:.2f} s", own <= goal)


if __name__ == "__main__":
    sys.exit(main())
