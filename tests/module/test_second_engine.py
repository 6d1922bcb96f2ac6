"""Tests that would harm the host's engine: kill it during a clone, fill its disk during a commit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.module.installation import Installation, is_healthy
from tests.module.killing import a_seat_is_up
from tests.module.second_engine import SUBNET, SecondEngine
from tests.module.small_image import SMALL
from tests.waiting import eventually

NAMES = [f"Seat {number}" for number in range(1, 7)]
SECRET = "https://user:canary-in-credentials@host\n"


@pytest.fixture
def second(request: pytest.FixtureRequest) -> Iterator[SecondEngine]:
    engine = SecondEngine(disk_mb=getattr(request, "param", None))
    yield engine
    engine.stop()


@pytest.fixture
def away(second: SecondEngine, engine: docker.DockerClient, small: str) -> Iterator[Installation]:
    """An installation on the second engine, with the small image as its template."""
    client = second.start()
    client.images.load(b"".join(engine.images.get(SMALL).save(named=True)))
    network = second.make_network(client)
    client.close()
    folder = Path(tempfile.mkdtemp(prefix="atelier-second-"))
    installation = Installation("atelier-second", folder, SUBNET, network, second.url)
    yield installation
    installation.remove()


def _source(away: Installation) -> dict[str, Any]:
    made = away.create(template="small")
    script = f"printf '{SECRET}' > ~/.git-credentials; chmod 600 ~/.git-credentials"
    assert away.container(made).exec_run(["sh", "-c", script]).exit_code == 0
    return made


@pytest.mark.parametrize("moment", ["snapshot", "first seat"])
def test_an_engine_that_is_killed_in_the_middle_of_a_clone(
    away: Installation, second: SecondEngine, moment: str
) -> None:
    source = _source(away)
    started = away.start("workspace_clone", clone_source="Base", clone_names=NAMES)
    journal = away.state / "snapshots" / f"{source['id']}.json"
    with away.newest_held(7):
        eventually(journal.exists if moment == "snapshot" else lambda: a_seat_is_up(away, source), moment)
        second.kill()
    failed = started.wait()
    assert failed.returncode != 0
    assert failed.result["error_code"] == "SERVICE_UNAVAILABLE", failed.output
    assert "Traceback" not in failed.output
    assert sorted(row["name"] for row in away.rows()) == sorted(["Base", *NAMES])
    second.start().close()
    again = away.clone(source="Base", names=NAMES).succeeded()
    assert [(seat["name"], seat["status"]) for seat in again.seats] == [(name, "running") for name in NAMES]
    assert all(is_healthy(seat["address"]) for seat in again.seats)
    away.is_tidy(["Base", *NAMES])
    assert away.read(source, "/home/coder/.git-credentials") == SECRET.encode()
    assert away.read(again.seats[0], "/home/coder/.git-credentials") == b""
    # Docker does not start again what it finds running after a crash, in spite of its restart policy.
    away.play("workspace_start", workspace_name="Base").succeeded()
    assert is_healthy(source["address"])
    assert away.play("reconcile").succeeded().result["drift"] == []


def test_the_same_order_by_count_is_finished_not_made_twice(away: Installation, second: SecondEngine) -> None:
    source = _source(away)
    started = away.start("workspace_clone", clone_source="Base", clone_count=6)
    with away.newest_held(7):
        eventually(lambda: a_seat_is_up(away, source), "the first seat")
        second.kill()
    started.wait().failed("SERVICE_UNAVAILABLE", "site.engine_url")
    second.start().close()
    again = away.clone(source="Base", count=6).succeeded()
    assert again.result["resumed"]
    away.is_tidy(["Base", *(f"Base {number}" for number in range(1, 7))])


@pytest.mark.parametrize("second", [400], indirect=True)
def test_a_disk_that_is_full_during_the_commit(away: Installation) -> None:
    source = _source(away)
    # More than half of what is free: the commit makes a copy of it.
    free = _free_bytes(away)
    script = f"head -c {int(free * 0.6)} /dev/zero > /workspace/big"
    assert away.container(source).exec_run(["sh", "-c", script]).exit_code == 0
    before = away.row("Base")
    result = away.clone(source="Base", count=3).failed("DISK_FULL")
    assert "its disk is full" in result["msg"]
    assert "docker system df" in result["msg"]
    away.is_tidy(["Base"])
    assert away.row("Base") == before
    assert away.open_batches() == 0
    assert is_healthy(source["address"])
    assert away.read(source, "/home/coder/.git-credentials") == SECRET.encode()
    assert away.container(source).exec_run(["stat", "-c", "%s", "/workspace/big"]).output.strip() == (
        str(int(free * 0.6)).encode()
    )
    # With room again the same order succeeds.
    assert away.container(source).exec_run(["rm", "/workspace/big"]).exit_code == 0
    away.clone(source="Base", count=3).succeeded()
    away.is_tidy(["Base", "Base 1", "Base 2", "Base 3"])


def _free_bytes(away: Installation) -> int:
    stat = os.statvfs(Path(away.engine_url.removeprefix("unix://")).parent / "data")
    return stat.f_bavail * stat.f_frsize
