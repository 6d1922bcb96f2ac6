"""kill -9 of a playbook at a chosen moment of its work, and whether the kill met work that was not done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.module.installation import Installation, Started
from tests.waiting import eventually

# A kill may come too late; not as often as this.
TRIES = 5


def kill_when(started: Started, condition: Callable[[], bool]) -> bool:
    """Kills the playbook when the condition holds. Returns whether it held while the playbook still ran."""
    try:
        eventually(lambda: condition() or started.process.poll() is not None, "the moment to kill")
    finally:
        ran = started.kill()
    return ran


def progress(site: Installation) -> int:
    """The steps that were taken for the workspaces: each has a row, then a container, then it runs."""
    rows = site.rows()
    return len(rows) + len(site.containers()) + sum(row["status"] == "running" for row in rows)


def secrets_are_held_back(site: Installation, source: dict[str, Any]) -> bool:
    try:
        return '"path"' in (site.state / "snapshots" / f"{source['id']}.json").read_text()
    except FileNotFoundError:
        return False


def a_container_is_made(site: Installation, source: dict[str, Any]) -> bool:
    return len(site.containers()) > 1


def a_seat_is_up(site: Installation, source: dict[str, Any]) -> bool:
    return any(row["status"] == "running" and row["id"] != source["id"] for row in site.rows())
