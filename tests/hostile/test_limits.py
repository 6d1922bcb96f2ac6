"""A stranger takes all there is: disk, memory, processes, processors. The others notice nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import docker
from docker.errors import APIError

from tests.waiting import eventually

from .conftest import INSTANCE, PATIENCE, Platform, Seat, Seats

GIB = 1024**3
# Two are enough to take the processors of the machine that runs the tests, and a few more make a crowd.
BUSY = 4
# Seconds for an answer, on a machine that does something else besides.
AT_ONCE = 5.0


def project(platform: Platform, seat: Seat) -> dict[str, Any]:
    return dict(platform.api.get(f"/api/projects/{seat.id}").json()["project"])


def slowest(platform: Platform, seconds: float) -> float:
    """Asks the API for so many seconds; returns the 95th percentile of its answers' times, in seconds."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        assert platform.api.get("/api/projects").status_code == 200
        times.append(time.monotonic() - begun)
        time.sleep(0.05)
    return sorted(times)[int(len(times) * 0.95)]


def test_the_platforms_containers_have_limits(platform: Platform, seat: Seats) -> None:
    of_services = {"label": [f"atelier.instance={INSTANCE}", "atelier.service"]}
    services = docker.from_env().containers.list(filters=of_services)
    limits = {service.labels["atelier.service"]: service.attrs["HostConfig"] for service in services}
    assert {"api", "gateway", "git", "squid", "recorder"} <= limits.keys()
    for name, host in limits.items():
        assert 0 < host["Memory"] == host["MemorySwap"], name
        assert host["PidsLimit"] > 0 and host["OomScoreAdj"] <= 0, name
        assert (host["CpuShares"] or 1024) >= 1024, name
        assert host["RestartPolicy"]["Name"] != "no", name
    own = seat().container.attrs["HostConfig"]
    assert (own["CpuShares"], own["OomScoreAdj"], own["PidsLimit"]) == (64, 500, 2048)


def test_a_file_that_is_larger_than_the_disk(seat: Seats) -> None:
    stranger = seat()
    for attempt in ("fallocate -l 1T ~/x", "truncate -s 15T /workspace/x", "truncate -s 9G /tmp/x"):
        assert stranger.try_run(attempt).returncode != 0, attempt
    assert stranger.run("du -sc --apparent-size -BM ~/x /workspace/x /tmp/x 2>/dev/null | tail -1").split()[0] == "0M"
    # /dev/shm is in memory, and small.
    assert stranger.try_run("dd if=/dev/zero of=/dev/shm/x bs=1M count=100").returncode != 0


def test_a_seat_that_fills_the_disk_is_stopped(platform: Platform, seat: Seats, bystander: Seat) -> None:
    stranger = seat()
    limit = platform.api.get(f"/api/projects/{stranger.id}/disk-usage").json()["diskUsage"]["limitBytes"]
    assert limit <= 4 * GIB  # the tests' own: more would take too long
    stranger.leave_running("for i in $(seq 100); do dd if=/dev/zero of=/workspace/$i bs=1M count=1000; done")
    # It clings to life.
    stranger.leave_running("kill -STOP $(pgrep -f workspace-ide)")

    def is_stopped() -> dict[str, Any] | None:
        found = project(platform, stranger)
        return found if found["status"] == "stopped" else None

    stopped = eventually(is_stopped, "the stop of the seat that fills the disk", PATIENCE)
    assert "its files take" in stopped["error"]
    used = platform.api.get(f"/api/projects/{stranger.id}/disk-usage").json()["diskUsage"]["bytes"]
    assert limit <= used < limit + 4 * GIB

    def is_told() -> bool:
        entries = platform.api.get("/api/audit").json()["entries"]
        return any((entry["who"], entry.get("workspace")) == ("disk", stranger.id) for entry in entries)

    eventually(is_told, "the line in the audit log")
    assert stopped["error"] in platform.api.get(f"/workspaces/{stranger.id}").text
    assert project(platform, bystander)["status"] == "running"
    assert bystander.run("echo fine >/workspace/x; cat /workspace/x") == "fine\n"


def test_processes_and_memory_without_end(platform: Platform, seat: Seats, bystander: Seat) -> None:
    stranger, hog = seat(), seat(memoryLimit="1g")
    began = {
        container.id: container.attrs["State"]["StartedAt"]
        for container in docker.from_env().containers.list(filters={"label": f"atelier.instance={INSTANCE}"})
        if container.id not in (stranger.container.id, hog.container.id)
    }
    stranger.leave_running("bomb() { bomb | bomb & sleep 600; }; bomb")
    eats = "python3 -c 'x = [bytearray(1 << 28) for _ in range(64)]'"
    assert hog.try_run(eats).returncode == 137

    def count() -> int:
        return int(docker.from_env().api.stats(stranger.container.id, stream=False)["pids_stats"]["current"])

    eventually(lambda: count() > 1900, "the processes of the fork bomb", PATIENCE)
    assert slowest(platform, 3) < AT_ONCE
    assert count() <= 2048
    assert bystander.run("cat /proc/self/status | head -1") == "Name:\tcat\n"
    for id, started_at in began.items():
        assert docker.from_env().containers.get(id).attrs["State"]["StartedAt"] == started_at
    with suppress(APIError):
        stranger.container.kill()


def test_busy_seats_leave_the_platform_its_share(platform: Platform, seat: Seats) -> None:
    for stranger in seat.several(BUSY):
        stranger.leave_running("for i in 1 2 3 4; do (while :; do :; done) & done; sleep 30")
    assert slowest(platform, 5) < AT_ONCE
