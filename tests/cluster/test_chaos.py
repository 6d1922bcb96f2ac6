"""Machines die, hang or lose their network, and the platform's programs are killed, while seats of several machines are
made, moved and changed: nothing is lost but what docs/cluster.md allows, and nothing is left.

    ATELIER_CHAOS_SEED=7 ATELIER_CHAOS_ROUNDS=30 ./atelier test cluster_chaos

The plan follows from the seed and is printed, as that of tests/chaos. An operation whose machine is away may fail; then
the same call again finishes it, or its seat is as before. A machine that returns has all of its seats' files.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from atelier.common.models import CONTROLLER

from tests.chaos.plan import Round, rounds
from tests.chaos.workshop import ENDED
from tests.module.processes import executions
from tests.waiting import eventually

from .installation import INSTANCE, Cluster
from .machines import Machine, away, kill_docker

SEED = int(os.environ.get("ATELIER_CHAOS_SEED", "13"))
ROUNDS = int(os.environ.get("ATELIER_CHAOS_ROUNDS", "30"))
OPERATIONS = ("create", "clone", "move", "drain", "checkpoint", "stop", "start", "delete")
VICTIMS = ("dockerd", "power", "network", "hang", "node gateway", "registry", "api", "playbook")
NODES = ("alpha", "beta")
# No job but those that are asked for.
VARIABLES = {"atelier_checkpoint_minutes": 0}
# With these the machine is away for a while. Swarm takes 4 s to notice, connections end after 10 s.
_AWAY = ("power", "network", "hang")
_AWAY_SECONDS = 12.0
_MOST_SEATS, _FEWEST_SEATS = 9, 5
_PATIENCE = 240.0
# How many events a job has, by operation: between its first task and its end.
_EVENTS = {"clone": 8, "create": 4, "checkpoint": 4, "move": 4, "drain": 6}


@dataclass
class Seat:
    """A workspace as it should be. ``files`` are the contents of its marks; of a clone also its source's. ``is_new``:
    nothing was written into it yet."""

    id: str
    name: str
    up: bool = True
    files: dict[str, str] = field(default_factory=dict)
    is_new: bool = True
    password: str | None = None

    @property
    def body(self) -> dict[str, str]:
        """The body of a call for the seat."""
        return {"password": self.password} if self.password else {}


class Workshop:
    """Calls the API as an operator does, and remembers what it was asked for."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.seats: dict[str, Seat] = {}
        self._number = 0
        for seat in cluster.seats():
            self.seats[seat["id"]] = Seat(seat["id"], seat["name"], password=cluster.password(seat))

    def row(self, seat: Seat) -> dict[str, Any]:
        return dict(self.cluster.api("GET", f"/api/projects/{seat.id}")["project"])

    def node(self, seat: Seat) -> str:
        return str(self.query("SELECT node FROM workspaces WHERE id = ?", seat.id)[0]["node"])

    # --- Asking -----------------------------------------------------------------------------------------------------

    def begin(self, operation: str, seat: Seat, node: str) -> tuple[str, Callable[[str], None]]:
        """Asks for the operation without waiting for its end: its job's id, and what is to be noted once that has
        ended in a state. ``node``: the machine that it is about, if it is about one."""
        before = {row["id"] for row in self.query("SELECT id FROM jobs")}
        settle = getattr(self, f"_{operation}")(seat, node)

        def begun() -> str | None:
            jobs = self.query("SELECT id FROM jobs WHERE operation NOT IN ('revive', 'repair') ORDER BY rowid")
            return next((row["id"] for row in jobs if row["id"] not in before), None)

        return str(eventually(begun, f"a job for the {operation}", 30)), settle

    def _send(self, method: str, path: str, body: Any = None) -> None:
        """A call whose answer may be taken away by a death."""
        with suppress(OSError):
            self.cluster.ask("localhost", path, method, body, seconds=0.3)

    def _create(self, _: Seat, node: str) -> Callable[[str], None]:
        self._number += 1
        name = f"made-{self._number}"
        self._send("POST", "/api/projects/create", {"projectName": name, "projectType": "empty"})
        return lambda state: self._take_in([seat for seat in self.cluster.seats() if seat["name"] == name], {})

    def _clone(self, source: Seat, node: str) -> Callable[[str], None]:
        before = {seat["id"] for seat in self.cluster.seats()}
        self._send("POST", f"/api/projects/{source.id}/clone", {"count": 3})

        def settle(state: str) -> None:
            self._take_in([seat for seat in self.cluster.seats() if seat["id"] not in before], source.files)

        return settle

    def _take_in(self, seats: list[dict[str, Any]], files: dict[str, str]) -> None:
        """Seats that were made. One whose making failed is removed, as an operator does: also one of several clones,
        whose job is successful."""
        for seat in seats:
            if seat["status"] == "error":
                self.cluster.api("DELETE", f"/api/projects/{seat['id']}")
            else:
                self.seats[seat["id"]] = Seat(seat["id"], seat["name"], files=dict(files))

    def _move(self, seat: Seat, node: str) -> Callable[[str], None]:
        to = next(name for name in (*NODES, CONTROLLER) if name != self.node(seat))
        self._send("POST", f"/api/projects/{seat.id}/move", {"node": to})
        return self._settled(seat)

    def _drain(self, _: Seat, node: str) -> Callable[[str], None]:
        self._send("POST", f"/api/nodes/{node}/drain")
        return lambda state: self.cluster.api("PUT", f"/api/nodes/{node}", {"availability": "active"})

    def _checkpoint(self, seat: Seat, node: str) -> Callable[[str], None]:
        self._send("POST", f"/api/projects/{seat.id}/checkpoint")
        return lambda state: None

    def _stop(self, seat: Seat, node: str) -> Callable[[str], None]:
        self._send("POST", f"/api/projects/{seat.id}/stop", seat.body)
        return self._settled(seat, up=False)

    def _start(self, seat: Seat, node: str) -> Callable[[str], None]:
        self._send("POST", f"/api/projects/{seat.id}/start")
        return self._settled(seat, up=True)

    def _settled(self, seat: Seat, *, up: bool | None = None) -> Callable[[str], None]:
        def settle(state: str) -> None:
            if state == "successful" and up is not None:
                seat.up = up
            else:
                # It was interrupted: it is what somebody wanted of it last, whichever that is.
                (row,) = self.query("SELECT wanted FROM workspaces WHERE id = ?", seat.id)
                seat.up = row["wanted"] == "running"

        return settle

    def _delete(self, seat: Seat, node: str) -> Callable[[str], None]:
        self._send("DELETE", f"/api/projects/{seat.id}", seat.body)

        def settle(state: str) -> None:
            if any(row["id"] == seat.id for row in self.cluster.seats()):
                assert state != "successful"
                self.cluster.api("DELETE", f"/api/projects/{seat.id}", seat.body)
            del self.seats[seat.id]

        return settle

    # --- Looking ----------------------------------------------------------------------------------------------------

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.cluster.state / "registry.sqlite3", timeout=30)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    def job(self, id: str) -> dict[str, Any]:
        return self.query("SELECT * FROM jobs WHERE id = ?", id)[0]

    def await_progress(self, job: str, share: float) -> None:
        wanted = round(share * _EVENTS.get(self.job(job)["operation"], 2))

        def reached() -> bool:
            (found,) = self.query("SELECT count(*) AS events FROM job_events WHERE job_id = ?", job)
            return int(found["events"]) >= wanted or self.job(job)["state"] in ENDED

        eventually(reached, f"{wanted} events of {job}", 120)

    def ended(self, job: str) -> str:
        eventually(lambda: self.job(job)["state"] in ENDED, f"the end of {self.job(job)}", _PATIENCE)
        open_jobs = "SELECT * FROM jobs WHERE state IN ('pending', 'running')"
        eventually(lambda: not self.query(open_jobs), "all jobs end", _PATIENCE)
        return str(self.job(job)["state"])

    def write(self, seat: Seat, name: str, text: str) -> None:
        node = self.node(seat)
        (container,) = self.cluster.containers(node, seat.id)
        self.cluster.at(node, "docker", "exec", container, "sh", "-c", f"printf %s {text} >/workspace/{name}")
        seat.files[name], seat.is_new = text, False

    # --- What must be true ------------------------------------------------------------------------------------------

    def holds(self) -> None:
        """Rows, containers and memories agree; no file is lost; nothing is left."""
        ids = {seat["id"] for seat in self.cluster.seats()}
        assert ids == self.seats.keys()
        for seat in self.seats.values():
            eventually(lambda seat=seat: not self.fault(seat), f"{seat} as it should be", 90)  # type: ignore[misc]
        wanted = sorted((self.node(seat), seat.id) for seat in self.seats.values())
        found = sorted(
            (node, self._workspace(node, name))
            for node in (CONTROLLER, *NODES)
            for name in self.cluster.containers(node, all=True)
        )
        assert found == wanted, "each seat has one container, where its row says"
        assert self.cluster.stored("snapshot") == [], "what only traveled is deleted"
        checkpoints = [name.rpartition(":")[2].split("-")[0] for name in self.cluster.stored("checkpoint")]
        assert set(checkpoints) <= self.seats.keys()

    def _workspace(self, node: str, container: str) -> str:
        label = '{{index .Config.Labels "atelier.workspace"}}'
        return self.cluster.at(node, "docker", "inspect", "--format", label, container)

    def fault(self, seat: Seat) -> str:
        """The seat's first fault; empty if it has none."""
        row = self.row(seat)
        if row["status"] != ("running" if seat.up else "stopped"):
            return f"it is {row['status']}: {row['error']}"
        if not seat.up:
            return ""
        if not self.cluster.opens(row):
            return "its address does not open it"
        node = self.node(seat)
        script = "cd /workspace && for f in mark-*; do [ ! -e $f ] || echo $f $(cat $f); done"
        (container,) = self.cluster.containers(node, seat.id)
        lines = self.cluster.at(node, "docker", "exec", container, "sh", "-c", script).splitlines()
        files = dict(line.split() for line in lines)
        return "" if files == seat.files else f"its files are {files}"

    def elsewhere(self, node: str) -> list[Seat]:
        """The seats that run on other machines than that one."""
        return [seat for seat in self.seats.values() if seat.up and self.node(seat) != node]


@pytest.fixture(scope="module")
def workshop(cluster: Cluster) -> Iterator[Workshop]:
    made = Workshop(cluster)
    for seat in made.seats.values():
        made.write(seat, "mark-0", seat.id)
    yield made


@pytest.mark.timeout(0)
@pytest.mark.parametrize("planned", rounds(SEED, ROUNDS, OPERATIONS, VICTIMS), ids=lambda planned: str(planned.number))
def test_round(workshop: Workshop, planned: Round) -> None:
    operation, seat, node = _choose(workshop, planned)
    print(f"seed {SEED}, {planned}: {operation} of {seat.name} on {workshop.node(seat)}, victim on {node}")
    others = [other for other in workshop.elsewhere(node) if other is not seat]
    job, settle = workshop.begin(operation, seat, node)
    workshop.await_progress(job, planned.marks)
    begun = time.monotonic()
    with _broken(workshop, planned.victim, node, job):
        state = workshop.job(job)["state"]
        if planned.victim in _AWAY:
            # Longer than anybody notices it; seats elsewhere do not, from its first second on.
            closed = [other for other in others if not workshop.cluster.opens({"id": other.id}, seconds=5)]
            assert not closed, "the seats of other machines open"
            while time.monotonic() < begun + _AWAY_SECONDS:
                time.sleep(0.2)
    eventually(workshop.cluster.is_up, "all machines are ready again", 120)
    end = workshop.ended(job)
    # A machine that was lost for a moment may have been noticed only now.
    eventually(workshop.cluster.is_up, "all machines are ready at the end", 120)
    settle(end)
    seconds, why = time.monotonic() - begun, str(workshop.job(job)["error"] or "-")[:200]
    print(f"the job was {state} and ended as {end}, {seconds:.0f} s after the blow: {why}")
    if planned.victim in ("api", "registry", "node gateway") and operation in ("stop", "start"):
        assert end == "successful", workshop.job(job)
    # What an interrupted move or clone left on a machine that was away is for reconcile.
    workshop.cluster.run("play", "reconcile", "-e", "repair=true")
    workshop.holds()
    up = [seat for seat in workshop.seats.values() if seat.up]
    chosen = up[planned.number % len(up)]
    for seat in up:
        if seat.is_new or seat is chosen:
            workshop.write(seat, f"mark-{planned.number}", f"{seat.id}-{planned.number}")


def _choose(workshop: Workshop, planned: Round) -> tuple[str, Seat, str]:
    """The planned operation, its seat, and the machine that is hit: the seat's, unless that is the controller. Another
    operation where there is nobody for it, or the machines would be full."""
    seats = sorted(workshop.seats.values(), key=lambda seat: seat.id)
    up, down = [seat for seat in seats if seat.up], [seat for seat in seats if not seat.up]
    operation = planned.operation
    if operation in ("create", "clone") and len(seats) >= _MOST_SEATS:
        operation = "delete"
    if operation == "delete" and len(seats) <= _FEWEST_SEATS:
        operation = "create"
    if operation == "start" and not down:
        operation = "stop"
    if operation == "stop" and len(up) < 4:
        operation = "start"
    of = down if operation == "start" else up
    seat = of[int(planned.seat * len(of))]
    node = workshop.node(seat)
    return operation, seat, node if node in NODES else NODES[planned.number % 2]


# --- What breaks ------------------------------------------------------------------------------------------------------


@contextmanager
def _broken(workshop: Workshop, victim: str, node: str, job: str) -> Iterator[None]:
    """Within the block the machine is away, or a program was killed, which its supervisor starts again."""
    machine = workshop.cluster.machine(node)
    if victim in _AWAY:
        with away(machine, victim):
            yield
    else:
        _kill(workshop, victim, machine, job)
        yield


def _kill(workshop: Workshop, victim: str, machine: Machine, job: str) -> None:
    if victim == "dockerd":
        kill_docker(machine)
    elif victim == "node gateway":
        pid = machine.run("docker", "inspect", "--format", "{{.State.Pid}}", f"{INSTANCE}-node-gateway")
        machine.run("kill", "-KILL", pid)
    elif victim in ("api", "registry"):
        state = workshop.cluster.client.api.inspect_container(f"{INSTANCE}-{victim}")["State"]
        os.kill(state["Pid"], signal.SIGKILL)
    else:
        for pid in executions(job):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
