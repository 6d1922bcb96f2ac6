"""Every process of the platform is killed at random moments of random operations: nothing is lost, stuck or left.

    ATELIER_CHAOS_SEED=7 ATELIER_CHAOS_ROUNDS=100 pytest tests/chaos

The plan follows from the seed and is printed. What is awaited before a kill is the job's own progress, not the clock.
Each round shows that the kill met work in progress; one that came too late is tried again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.errors import NotFound

from tests.chaos.machine import INSTANCE, lives, machine
from tests.chaos.plan import Round, rounds
from tests.chaos.workshop import ENDED, Seat, Workshop
from tests.engine import only_session
from tests.installed import front_door
from tests.module.processes import executions
from tests.waiting import eventually

SEED = int(os.environ.get("ATELIER_CHAOS_SEED", "11"))
ROUNDS = int(os.environ.get("ATELIER_CHAOS_ROUNDS", "12"))
# What is promised; a machine that does something else besides may take longer.
SECONDS = float(os.environ.get("ATELIER_CHAOS_SECONDS", "30"))
# A file that is there when nothing else keeps the machine busy (tests/run.sh).
QUIET = os.environ.get("ATELIER_CHAOS_QUIET")
_MOST_SEATS = 6
_TRIES = 5
# How many events a job has, by operation: between its first task and its end.
_EVENTS = {"clone": 8, "create": 4, "checkpoint": 4, "reset": 4, "collect": 5}
# What these do is lost on nobody: the job is taken up. Only a playbook that is killed itself ends its job.
_ENDS_THE_JOB = ("ansible-playbook", "seat", "ide", "shim")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with only_session("atelier-chaos"):
        for made, installation in machine():
            workshop = Workshop(made, installation)
            eventually(workshop.platform_is_up, "the platform is up")
            for row in installation.rows():  # of a machine that was kept
                installation.play("workspace_delete", workspace_id=row["id"]).succeeded()
            for _ in range(2):
                before = set(workshop.job_ids())
                job, settle = workshop.begin("create", None)
                assert job not in before
                settle(workshop.ended(job))
            for seat in workshop.seats.values():
                workshop.write_file(seat, "mark-0", seat.id)
            if QUIET:
                eventually(Path(QUIET).exists, "the end of the other suites", 5400)
            yield workshop


@pytest.mark.timeout(0)
@pytest.mark.parametrize("planned", rounds(SEED, ROUNDS), ids=lambda planned: str(planned.number))
def test_round(workshop: Workshop, planned: Round) -> None:
    print(f"seed {SEED}, {planned}")
    workshop.machine.configure(**{"live-restore": planned.live_restore})
    for attempt in range(1, _TRIES + 1):
        operation, seat = _choose(workshop, planned)
        job, settle = workshop.begin(operation, seat)
        # Earlier each time: what came too late is to meet work.
        _await_progress(workshop, job, planned.marks * (1 - (attempt - 1) / _TRIES))
        victims = _victims(workshop, planned.victim, seat, job)
        state = workshop.job(job)["state"]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda victims=victims: not any(map(lives, victims)), "the victims are dead", 30)  # type: ignore[misc]
        met = bool(victims) and state not in ENDED
        print(f"attempt {attempt}: {operation} of {seat and seat.name}, {len(victims)} processes killed, job {state}")
        took = workshop.wait_until_up(job, SECONDS)
        end = workshop.ended(job)
        workshop.quiet()
        settle(end)
        print(f"everything was up {took:.1f} s after Docker answered; the job ended as {end}")
        if planned.victim not in _ENDS_THE_JOB:
            assert end == "successful", workshop.job(job)
        workshop.holds()
        if met:
            break
    assert met, f"no kill of {planned} met work in progress"
    for seat in workshop.seats.values():
        if seat.up:
            workshop.write_file(seat, f"mark-{planned.number}", f"{seat.id}-{planned.number}")
            break


def test_what_was_put_down_stays_down(workshop: Workshop) -> None:
    """Also when dockerd dies: the platform's containers, which Docker otherwise starts whatever was done to them."""
    made = workshop.machine
    done = front_door("down", "-e", f"@{made.file}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
    pid = made.dockerd()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not lives(pid), "dockerd is dead", 30)
    eventually(made.answers, "Docker is back", 90)
    # What comes back by itself is there a second later.
    time.sleep(3)
    assert [container.name for container in workshop.installation.docker.containers.list()] == []


def _choose(workshop: Workshop, planned: Round) -> tuple[str, Seat | None]:
    """The planned operation and its seat, or another where there is nobody for it, or the machine would be full. Two
    seats at least are up."""
    seats = sorted(workshop.seats.values(), key=lambda seat: seat.name)

    def one(of: list[Seat]) -> Seat:
        return of[int(planned.seat * len(of))]

    up, down = [seat for seat in seats if seat.up], [seat for seat in seats if not seat.up]
    operation = planned.operation
    if operation in ("create", "clone") and len(seats) >= _MOST_SEATS:
        operation = "delete"
    if operation == "start" and not down:
        operation = "stop"
    if operation in ("delete", "stop") and len(up) < 3:
        operation = "start" if down else "create"
    if operation == "create":
        return operation, None
    return operation, one(down if operation == "start" else up)


def _await_progress(workshop: Workshop, job: str, share: float) -> None:
    operation = workshop.job(job)["operation"]
    wanted = round(share * _EVENTS.get(operation, 2))

    def reached() -> bool:
        return len(workshop.events(job)) >= wanted or workshop.job(job)["state"] in ENDED

    eventually(reached, f"{wanted} events of {job}", 120)


def _victims(workshop: Workshop, victim: str, seat: Seat | None, job: str) -> list[int]:
    made = workshop.machine
    about = seat or next(seat for seat in workshop.seats.values() if seat.up)

    def init() -> int:
        return _pid(workshop, workshop.installation.container_name({"id": about.id}))

    by_name: dict[str, Callable[[], list[int]]] = {
        "ansible-playbook": lambda: executions(job),
        "dockerd": lambda: [made.dockerd()],
        "containerd": lambda: [made.containerd()],
        "dockerd and containerd": lambda: [made.dockerd(), made.containerd()],
        "host": made.everything,
        "seat": lambda: [init()],
        "ide": lambda: _below(init()),
        "shim": lambda: [_parent(init())],
    }
    found = by_name.get(victim, lambda: _below(_pid(workshop, f"{INSTANCE}-{victim}")))()
    return [pid for pid in found if pid > 1]


def _pid(workshop: Workshop, container: str) -> int:
    """The pid of the container's init; 0 if the container does not run or is being replaced."""
    with suppress(NotFound):
        return int(workshop.installation.docker.api.inspect_container(container)["State"]["Pid"])
    return 0


def _below(pid: int) -> list[int]:
    """The processes that do a container's work: those below the init that Docker or the image put first."""
    if not pid:
        return []
    children = [int(entry.name) for entry in _processes() if _parent(int(entry.name)) == pid]
    return children or [pid]


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
