"""The end of a workshop over HTTP: the seats' work is collected and downloaded before they can be removed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from tests.api.conftest import own_instance
from tests.api.running import Api, is_error
from tests.waiting import eventually

ADMIN = {"X-Forwarded-For": "203.0.113.9", "X-Admin-Password": "canary-admin-Hy5"}
COLLECT, TEARDOWN = "/api/workshop/collect", "/api/workshop/teardown"


@dataclass(frozen=True)
class Day:
    """A workshop with its base, a claimed seat that has work, and a stopped seat; and a workspace outside it."""

    api: Api
    base: dict[str, Any]
    works: dict[str, Any]
    stopped: dict[str, Any]
    other: dict[str, Any]

    @property
    def sheet(self) -> Path:
        """The file of the seats' passwords."""
        return self.api.instance.state / "workshop-workshop.csv"

    @property
    def archive(self) -> str:
        """The path of the first seat's archive."""
        return f"{COLLECT}/{self.works['id']}/archive"


@pytest.fixture(scope="class")
def day(network: str) -> Iterator[Day]:
    with own_instance() as own:
        api = own(workshop={"admin_password": ADMIN["X-Admin-Password"]}).start()
        base, other = api.create("Workshop", group="workshop"), api.create("another", group="other")
        ids, job = api.clone(base["id"], 2)
        assert api.ended(job)["state"] == "successful"
        works, stopped = (api.project(id) for id in ids)
        api.instance.run_inside(works, "echo mine > work.txt")
        assert api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"}).status_code == 200
        assert api.post(f"/api/projects/{stopped['id']}/stop").status_code == 200
        day = Day(api, base, works, stopped, other)
        day.sheet.write_text("name,url,password,state\n")
        yield day


class TestTheEnd:
    """The tests run in order on one workshop; each continues from the state that the previous one left."""

    def test_only_the_operator_may(self, day: Day) -> None:
        for method, path in (("POST", COLLECT), ("GET", COLLECT), ("GET", day.archive), ("POST", TEARDOWN)):
            is_error(day.api.send(method, path, headers={"X-Forwarded-For": "203.0.113.9"}), 401, "UNAUTHORIZED")

    def test_nothing_is_removed_before_it_is_collected(self, day: Day) -> None:
        is_error(day.api.get(day.archive), 404, "NOT_FOUND")
        is_error(day.api.post(TEARDOWN, {"collected": "never"}), 400, None, "collected")
        assert _missing(day) == ["Workshop 1", "Workshop 2"]

    def test_a_collect_goes_on_after_the_api_died(self, day: Day) -> None:
        job = begun(day.api, COLLECT)
        is_error(day.api.post(COLLECT), 409, "WORKSPACE_BUSY", "job")
        # Its first archive.
        eventually(lambda: any(event["event"] == "progress" for event in day.api.stream_so_far(job)), "progress")
        day.api.kill()
        day.api.start()
        ended = day.api.ended(job)
        assert (ended["state"], ended["progress"]) == ("successful", {"done": 3, "total": 3})
        assert [(seat["projectName"], seat["error"]) for seat in ended["seats"]] == [
            *(("Workshop 1", None), ("Workshop 2", None), ("Workshop", None))
        ]
        assert "is not running" in ended["seats"][1]["warnings"][0]

    def test_archives_are_listed_and_downloaded(self, day: Day) -> None:
        shown = day.api.get(COLLECT, headers=ADMIN).json()
        assert [(row["projectName"], row["isBase"], row["collected"]) for row in shown["workspaces"]] == [
            *(("Workshop 1", False, True), ("Workshop 2", False, True), ("Workshop", True, True))
        ]
        entry = next(seat for seat in shown["seats"] if seat["projectId"] == day.works["id"])
        answer = day.api.get(day.archive, headers=ADMIN)
        assert answer.headers["content-disposition"] == f'attachment; filename="{entry["file"]}"'
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert read(answer.content, "workspace/work.txt") == b"mine\n"

    def test_a_damaged_archive_keeps_all_seats_until_it_is_taken_again(self, day: Day) -> None:
        (damaged,) = (day.api.instance.state / "archives" / "workshop-workshop").glob(f"*_{day.stopped['id']}_*")
        damaged.write_bytes(bytes(damaged.stat().st_size))
        ended = day.api.ended(begun(day.api, TEARDOWN))
        assert (ended["state"], [seat["status"] for seat in ended["seats"]]) == ("failed", ["running", "stopped"])
        assert "Workshop 2" in ended["error"]
        assert day.sheet.exists()
        assert day.api.ended(begun(day.api, COLLECT))["state"] == "successful"

    def test_a_teardown_goes_on_after_the_api_died_and_keeps_all_others(self, day: Day) -> None:
        api, instance = day.api, day.api.instance
        job = begun(api, TEARDOWN)
        eventually(lambda: api.status(day.works["id"]) == "absent", "the first seat is gone")
        api.kill()
        api.start()
        ended = api.ended(job)
        assert (ended["state"], [seat["status"] for seat in ended["seats"]]) == ("successful", ["deleted", "deleted"])
        assert {row["name"] for row in instance.rows()} == {"Workshop", "another"}
        assert not day.sheet.exists(), "the next workshop's seats would have its passwords"
        kept = {instance.container_name(day.base), instance.container_name(day.other)}
        assert {container.name for container in instance.containers()} == kept

    def test_claims_and_archives_stay(self, day: Day) -> None:
        history = day.api.get("/api/workshop/claims", headers=ADMIN).json()
        assert (history["claims"], [entry["email"] for entry in history["history"]]) == ([], ["max@example.com"])
        assert read(day.api.get(day.archive).content, "workspace/work.txt") == b"mine\n"
        late = day.api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"})
        is_error(late, 503, "WORKSHOP_FULL")  # the base is left, which is no seat

    def test_the_base_goes_when_it_is_asked_for(self, day: Day) -> None:
        is_error(day.api.post(TEARDOWN), 404, "NOT_FOUND")
        assert day.api.ended(begun(day.api, TEARDOWN, base=True))["state"] == "successful"
        assert [row["name"] for row in day.api.instance.rows()] == ["another"]
        is_error(day.api.post(COLLECT), 404, "NOT_FOUND")

    def test_all_of_it_stands_in_the_audit(self, day: Day) -> None:
        assert {entry["outcome"] for entry in day.api.audit("collect")} == {"successful"}
        assert {entry["outcome"] for entry in day.api.audit("teardown")} >= {"successful", "failed: NOT_COLLECTED"}

    def test_what_nobody_wants_goes_without_an_archive(self, day: Day) -> None:
        base = day.api.create("Workshop", group="workshop")
        (seat,), job = day.api.clone(base["id"], 1)
        assert day.api.ended(job)["state"] == "successful"
        assert day.api.ended(begun(day.api, TEARDOWN, collected="ignore"))["state"] == "successful"
        assert day.api.status(seat) == "absent"


def _missing(day: Day) -> list[str]:
    """The names of the workspaces because of which a teardown is refused."""
    refused = is_error(day.api.post(TEARDOWN, headers=ADMIN), 409, "NOT_COLLECTED", "missing")
    return list(refused["details"]["missing"])


def begun(api: Api, path: str, **body: Any) -> str:
    answer = api.post(path, body, headers=ADMIN)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['jobId']}"
    return str(answer.json()["jobId"])


def read(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(archive))) as content:
        file = content.extractfile(name)
        assert file is not None
        return file.read()
