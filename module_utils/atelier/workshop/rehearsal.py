"""A rehearsal: creates the seats, opens all at once like participants, and removes them.

The verdict is go or no-go, with page load times and the resource that would be used up first. The seats are in a group
that nobody else can join, so no participant claims one. Leftovers of a killed rehearsal are removed by the next one, or
by reconcile.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import AtelierError, invalid
from ..common.messages import Message, id_of
from ..common.models import CONTROLLER, Workspace
from ..containers.context import Context
from ..database.placement import as_many_as_fit, with_labels
from ..database.workspace_store import new_id
from ..engine.machine import free_on, memory_at, parse_memory
from ..workspaces.cloning import CloneOrder, clone
from ..workspaces.service import remove
from .probe import probe

GROUP = "~rehearsal"  # not a group that anybody may give: see validation.check_group
MOST_SEATS = 500
_REMOVERS = 4
# Slower than this, a participant clicks again.
_SLOWEST_SECONDS = 10.0
# Memory that must stay free for the seats to work in, beyond their use when they open.
_SPARE_MEMORY = 1024**3
_SPARE_DISK = 5 * 1024**3
_MEASURERS = 8
# The reason that each check fails for.
_CHECKS = {
    "room": "room_for",
    "made": "not_up",
    "opened": "not_opened",
    "fast": "slow",
    "egress": "no_proxy",
    "capacity": "enough_for",
}
_PROXY_CHECK = "exec curl -q -s -o /dev/null -w '%{http_code}' --max-time 10 http://rehearsal.invalid/"
_COMMAND_SECONDS = 20.0
_MOST_OUTPUT = 4096


@dataclass(frozen=True)
class Limit:
    """The number of further seats that a resource allows. ``what`` names it and, with several machines, its machine."""

    what: str
    seats: int
    node: str | None = None

    def view(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def words(self) -> str:
        return Message("limit_at", what=self.what, node=self.node) if self.node else self.what


def _limits(placed: Sequence[str] | None, caps: Mapping[str, Mapping[str, int]]) -> list[Limit]:
    """The number of seats at which the first machine is full, for each of the ``caps`` (seats by machine). ``placed``
    are the machines of further seats; None on a single machine."""
    if placed is None:
        return [Limit(what, cap[CONTROLLER]) for what, cap in caps.items()]
    limits: list[Limit] = []
    for what, cap in caps.items():
        there = Counter[str]()
        for number, node in enumerate(placed):
            there[node] += 1
            if there[node] > cap.get(node, len(placed)):
                limits.append(Limit(what, number, node))
                break
    return limits


def _result(seats: int, reasons: Sequence[str], first: Limit, **measured: float | None) -> dict[str, Any]:
    """The verdict in seconds and bytes, and each check by its name, with why it failed. ``reasons`` explain a no-go;
    ``first`` is the resource that is used up first. Without room for the seats nothing is ``measured``, and only that
    is checked."""
    figures = {"made_in": 0.0, "p50": None, "p95": None, "memory_per_seat": 0, "disk_per_seat": 0, **measured}
    verdict = {"go": not reasons, "seats": seats, **figures, "first_limit": first.view(), "reasons": [*reasons]}
    faults = {id_of(reason): str(reason) for reason in reasons}
    checks = [{"name": name, "fault": faults.get(id)} for name, id in _CHECKS.items()]
    return {"verdict": verdict, "checks": checks[:1] if checks[0]["fault"] else checks}


def rehearse(context: Context, *, source_id: str | None, source_name: str | None, seats: int) -> dict[str, Any]:
    """Creates ``seats`` seats from the source, opens, measures and removes them. Returns ``verdict`` and ``checks``.
    Raises PROJECT_NOT_FOUND, WORKSPACE_BUSY during another rehearsal, VALIDATION_ERROR for a number out of range, and
    the errors of creating seats."""
    if not 1 <= seats <= MOST_SEATS:
        raise invalid("seats_out_of_range", "seats", seats=seats, value=seats, most=MOST_SEATS)
    source = context.store.get(id=source_id, name=source_name, field="source")
    with context.locks.rehearsal():
        remove_leftover_seats(context)
        room = [Limit(what, count) for what, count in context.store.room(source.owner, source.proxy_mode).items()]
        machines, placed = context.engines.machines(), None
        if machines is not None:
            fit, most = with_labels(machines, source.node_labels), min(limit.seats for limit in room)
            placed = as_many_as_fit(fit, source.limits.memory_bytes, context.store.promised(), most)
            room.append(Limit("promised_memory", len(placed)))
        tightest = min(room, key=lambda limit: limit.seats)
        if tightest.seats < seats:
            reason = Message("room_for", what=tightest.words, seats=tightest.seats, wanted=seats)
            return _result(seats, [reason], tightest)
        try:
            return _perform(context, source, seats, room, placed)
        finally:
            remove_leftover_seats(context)


def _perform(
    context: Context, source: Workspace, count: int, room: Sequence[Limit], placed: Sequence[str] | None
) -> dict[str, Any]:
    memory = _available_memory(context)
    run_id = new_id()
    names = [f"rehearsal-{run_id} {number}" for number in range(1, count + 1)]
    begin = time.monotonic()
    order = CloneOrder(source_id=source.id, names=names, group=GROUP, owner=source.owner)
    made = clone(context, order)["seats"]
    seconds = time.monotonic() - begin
    ids = {seat["id"] for seat in made if seat["error"] is None}
    ready = [row for row in leftover_seats(context) if row.id in ids]
    reasons: list[str] = []
    if len(ready) < count:
        reasons.append(Message("not_up", missing=count - len(ready), count=count))

    context.progress(Message("step.opening"), 0, count)
    with ThreadPoolExecutor(max(len(ready), 1)) as threads:
        probes = list(threads.map(lambda row: probe(context.site, row.id, context.ready_timeout), ready))
    faults = [fault for _, fault in probes if fault]
    if faults:
        reasons.append(Message("not_opened", failed=len(faults), count=len(ready), fault=faults[0]))
    times = sorted(took for took, fault in probes if not fault)
    # From opening a seat's address to its IDE's WebSocket, with all seats at once.
    p50 = round(statistics.median(times), 3) if times else None
    p95 = round(times[min(int(len(times) * 0.95), len(times) - 1)], 3) if times else None
    if p95 is not None and p95 > _SLOWEST_SECONDS:
        reasons.append(Message("slow", seconds=f"{p95:.1f}"))
    reasons += _egress_faults(context, source, ready)
    context.progress(Message("step.opening"), count, count)

    taken = _memory_of(context, ready)
    # Includes processes beside the seats (shims, the gateway), but not unrelated ones that ended meanwhile.
    left = _available_memory(context)
    memory_each = max(sum(memory[node] - left.get(node, memory[node]) for node in memory), taken) // count
    labels = (f"atelier.instance={context.site.instance}", f"atelier.group={GROUP}")
    sizes = {here.node: here.engine.sizes(*labels).values() for here in context.everywhere()}
    written = {node: sum(size.own for size in found) for node, found in sizes.items()}
    disk_each = sum(written.values()) // count
    disk = {node: free + written.get(node, 0) for node, free in _free_disk(context).items()}
    caps = {
        "memory": {node: max(free - _SPARE_MEMORY, 0) // max(memory_each, 1) for node, free in memory.items()},
        "disk": {node: max(free - _SPARE_DISK, 0) // max(disk_each, 1) for node, free in disk.items()},
    }
    first = min([*room, *_limits(placed, caps)], key=lambda limit: limit.seats)
    if first.seats < count:
        reasons.append(Message("enough_for", what=first.words, seats=first.seats))
    figures = {"made_in": round(seconds, 2), "p50": p50, "p95": p95}
    return _result(count, reasons, first, **figures, memory_per_seat=memory_each, disk_per_seat=disk_each)


def _egress_faults(context: Context, source: Workspace, rows: Sequence[Workspace]) -> list[str]:
    """A fault if the proxy of the source's mode does not answer a seat. A refusal is an answer: the name is invalid."""
    if not source.proxy_mode.proxy or not rows:
        return []
    name, output = context.site.container_name(rows[0].id), ""
    with suppress(AtelierError):
        engine, command = context.at(rows[0]).engine, ("/bin/sh", "-c", _PROXY_CHECK)
        _, output = engine.execute(name, command, seconds=_COMMAND_SECONDS, limit=_MOST_OUTPUT)
    code = output.strip()[-3:]
    return [] if code.isdecimal() and code != "000" else [Message("no_proxy", mode=source.proxy_mode)]


def leftover_seats(context: Context) -> list[Workspace]:
    """The seats of rehearsals."""
    return [row for row in context.store.all() if row.group == GROUP]


def remove_leftover_seats(context: Context) -> None:
    def clear(row: Workspace) -> None:
        # Seats that cannot be removed now are removed by the next rehearsal; the verdict must not be lost.
        with suppress(AtelierError), context.locks.workspace(row.id, context.lock_wait):
            remove(context.at(row), row)

    with ThreadPoolExecutor(_REMOVERS) as pool:
        list(pool.map(clear, leftover_seats(context)))


def _memory_of(context: Context, rows: Sequence[Workspace]) -> int:
    with ThreadPoolExecutor(_MEASURERS) as pool:
        found = pool.map(lambda row: context.at(row).engine.stats(context.site.container_name(row.id)), rows)
        return sum(stats.memory for stats in found if stats)


def _available_memory(context: Context) -> dict[str, int]:
    """The available memory by machine, in bytes. Machines that do not answer are left out."""
    nodes = [here for here in context.everywhere() if here.node != CONTROLLER]
    found = {here.node: memory_at(here.engine, context.site.instance) for here in nodes}
    found[CONTROLLER] = parse_memory(Path("/proc/meminfo").read_text())
    return {node: memory.available for node, memory in found.items() if memory}


def _free_disk(context: Context) -> dict[str, int]:
    """The free space of Docker's disk by machine, in bytes. Machines that do not answer are left out. On the
    controller: that of the state folder's disk, if it has less."""
    found = {here.node: free_on(here.engine, here.node, context.site.instance) for here in context.everywhere()}
    free = {node: size for node, size in found.items() if size is not None}
    return free | {CONTROLLER: min(free[CONTROLLER], shutil.disk_usage(context.site.state_dir).free)}
