"""Figures of git: the cost of a repository for a workspace and of branches for a clone, and the time of collecting."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from .host import INSTANCE, play
from .report import Report

SEATS = 20
MIB = 1024**2
WORK = 10 * MIB
REPOSITORY_GOAL, BRANCHES_GOAL, COLLECT_GOAL = 0.8, 2.0, 15.0
PORT, GIT_PORT = 18490, 18491
# As many at once as Atelier has.
_READERS = 6


def measure_git(report: Report, variables: Path, rounds: int) -> None:
    """Adds the figures. The git server and the gateway before it run in the bench's installation, beside its seats."""
    site = variables.with_name("git.json")
    settings = {"atelier_enable_git_server": True, "atelier_base_port": PORT, "atelier_git_port": GIT_PORT}
    site.write_text(json.dumps(json.loads(variables.read_text()) | settings))
    playbook = variables.with_name("git-server.yml")
    playbook.write_text(json.dumps([{"hosts": "localhost", "roles": ["git_service", "gateway"]}]))
    play(site, str(playbook.with_suffix("")))
    _repository(report, site, rounds)
    _branches(report, site, rounds)


def _repository(report: Report, site: Path, rounds: int) -> None:
    plain, with_one = [], []
    for number in range(rounds + 1):
        for taken, wanted in ((plain, False), (with_one, True)):
            name = f"git-{number}-{wanted}"
            taken.append(play(site, "workspace_create", workspace_name=name, workspace_git_repo=wanted))
            play(site, "workspace_delete", workspace_name=name)
    # The first of each only warms up.
    raw, own = statistics.median(plain[1:]), statistics.median(with_one[1:])
    _added(report, "create one workspace with a repository", own, raw, "without", REPOSITORY_GOAL)


def _branches(report: Report, site: Path, rounds: int) -> None:
    play(site, "workspace_create", workspace_name="plain")
    play(site, "workspace_create", workspace_name="git", workspace_git_repo=True)
    plain, with_branches, collected, copied = [], [], [], []
    for _ in range(rounds):
        for taken, source in ((plain, "plain"), (with_branches, "git")):
            taken.append(play(site, "workspace_clone", clone_source=source, clone_count=SEATS))
            if source == "git":
                own, raw = _collect(site)
                collected.append(own)
                copied.append(raw)
            again = {"workshop_keep_base": True, "confirm": True, "collected": "ignore"}
            play(site, "workshop_teardown", workshop_base=source, **again)
    raw, own = statistics.median(plain), statistics.median(with_branches)
    _added(report, f"clone {SEATS} seats with a branch each", own, raw, "without", BRANCHES_GOAL)
    took, baseline = statistics.median(collected), statistics.median(copied)
    what = f"collect {SEATS} seats of {WORK // MIB} MiB: commit, push, archive, verify"
    report.add(what, f"{took:.2f} s", f"{baseline:.2f} s", f"at most {COLLECT_GOAL:g} s", took <= COLLECT_GOAL)


def _collect(site: Path) -> tuple[float, float]:
    """Seconds of the playbook, and of the raw copies of the same folders through Docker's API."""
    api = docker.APIClient(version="auto", timeout=300)
    label = {"label": [f"atelier.instance={INSTANCE}", "atelier.cloned_from"]}
    named = {entry["Id"]: entry["Labels"]["atelier.name"] for entry in api.containers(filters=label)}
    seats = [seat for seat, name in named.items() if name.startswith("git ")]
    assert len(seats) == SEATS, len(seats)
    for seat in seats:
        job = api.exec_create(seat, ["sh", "-c", f"head -c {WORK} /dev/urandom > /workspace/work"])
        api.exec_start(job["Id"])
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(lambda seat: _copy(api, seat, Path(folder)), seats))
        raw = time.monotonic() - begin
    with tempfile.TemporaryDirectory() as folder:
        own = play(site, "workshop_collect", workshop_base="git", workshop_archive=f"{folder}/archive")
    return own, raw


def _copy(api: docker.APIClient, seat: str, folder: Path) -> None:
    stream, _ = api.get_archive(seat, "/workspace", chunk_size=MIB)
    with (folder / f"{seat}.tar").open("wb") as file:
        file.writelines(stream)


def _added(report: Report, what: str, own: float, raw: float, beside: str, allowance: float) -> None:
    goal = f"{beside} + {allowance:g} s = {raw + allowance:.2f} s"
    report.add(what, f"{own:.2f} s (+{own - raw:.2f} s)", f"{raw:.2f} s ({beside})", goal, own <= raw + allowance)
