"""A seat's part of the disk, measured and enforced by the API on a real engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.api.running import ENDED, Api
from tests.waiting import eventually

MIB = 1024**2
ADMIN = {"X-Forwarded-For": "203.0.113.9", "X-Admin-Password": "canary-admin-Hy5"}


def test_a_seat_that_fills_its_part_of_the_disk_is_stopped(own: Callable[..., Api]) -> None:
    api = own(seat_disk=50 * MIB, workshop={"admin_password": ADMIN["X-Admin-Password"]}).start()
    full, calm = api.create("full", group="workshop"), api.create("calm", group="other")
    claimed = api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"}).json()
    assert "diskWarning" not in claimed

    write(api, full, 43)
    warned = eventually(lambda: api.project(full["id"])["diskWarning"], "the warning")
    assert re.fullmatch(r"Its files take 4\d MiB of 50 MiB\. Delete some, or it will be stopped\.", warned)
    assert api.project(full["id"])["status"] == "running"

    def usage() -> dict[str, Any]:
        return dict(api.get(f"/api/projects/{full['id']}/disk-usage").json()["diskUsage"])

    # It may have been warned in the middle of the file.
    eventually(lambda: usage()["percent"] >= 86, "the file is written")
    assert (usage()["limitBytes"], usage()["percent"] < 100) == (50 * MIB, True)
    assert f'atelier_seat_disk_bytes{{workspace="{full["id"]}"}}' in api.get("/metrics").text

    write(api, full, 60)
    stopped = eventually(lambda: of_status(api, full, "stopped"), "the stop at the limit")
    assert re.match(r"It was stopped because its files take [56]\d MiB of 50 MiB\. Start it", stopped["error"])
    assert api.instance.container(full).status == "exited"
    # A seat that is killed at the limit has stopped before its stop is asked for.
    noted = eventually(lambda: api.audit("stop"), "the audit has the stop")
    assert [(entry["who"], entry["outcome"]) for entry in noted] == [("disk", "successful")]
    # Its participant, the operator and the helper read the same.
    again = api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"}).json()
    assert again["diskWarning"] == stopped["error"]
    assert stopped["error"] in api.get(f"/workspaces/{full['id']}").text
    (seat,) = api.get("/api/workshop/seats", headers=ADMIN).json()["seats"]
    assert seat["diskWarning"] == stopped["error"]

    # Started again it may live for a while, so that somebody can delete files.
    assert api.post(f"/api/projects/{full['id']}/start").status_code == 200
    assert "Delete some" in api.project(full["id"])["diskWarning"]
    api.instance.run_inside(full, "rm /workspace/large")
    eventually(lambda: api.project(full["id"])["diskWarning"] is None, "the end of the warning")
    assert api.project(full["id"])["status"] == "running"

    # But not grow.
    write(api, full, 60)
    eventually(lambda: of_status(api, full, "stopped"), "the second stop")
    assert api.post(f"/api/projects/{full['id']}/start").status_code == 200
    write(api, full, 70)
    eventually(lambda: of_status(api, full, "stopped"), "the third stop")
    assert (api.project(calm["id"])["status"], api.project(calm["id"])["diskWarning"]) == ("running", None)


def test_seats_of_an_earlier_version_get_the_shares_of_new_ones(own: Callable[..., Api]) -> None:
    api = own().start()
    seat = api.create("old")
    api.instance.container(seat).update(cpu_shares=1024)
    api.kill()
    api.start()

    def shares() -> int:
        return int(api.instance.container(seat).attrs["HostConfig"]["CpuShares"])

    eventually(lambda: shares() == 64, "the shares of a new seat")


def write(api: Api, seat: dict[str, Any], mebibytes: int) -> None:
    """Writes a file in the seat with a detached process: the seat may be stopped before that ends."""
    command = f"head -c {mebibytes}M /dev/zero >/workspace/large"
    api.instance.container(seat).exec_run(["sh", "-c", command], detach=True)


def of_status(api: Api, seat: dict[str, Any], status: str) -> dict[str, Any] | None:
    project: dict[str, Any] = api.project(seat["id"])
    quiet = all(job["state"] in ENDED for job in api.jobs())
    return project if project["status"] == status and quiet else None
