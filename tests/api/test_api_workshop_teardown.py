"""The end of a workshop over HTTP: the seats' work is collected and downloaded before they can be removed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from typing import Any

from backports import zstd

from tests.api.running import Api, is_error
from tests.waiting import eventually

ADMIN = {"X-Forwarded-For": "203.0.113.9", "X-Admin-Password": "canary-admin-Hy5"}
COLLECT, TEARDOWN = "/api/workshop/collect", "/api/workshop/teardown"


def test_collected_and_torn_down(own: Callable[..., Api]) -> None:
    api = own(workshop={"admin_password": ADMIN["X-Admin-Password"]}).start()
    instance = api.instance
    is_error(api.post(COLLECT), 404, "NOT_FOUND")
    base = api.create("Workshop", group="workshop")
    other = api.create("another", group="other")
    ids, job = api.clone(base["id"], 2)
    assert api.ended(job)["state"] == "successful"
    first, second = (api.project(id) for id in ids)
    instance.run_inside(first, "echo mine > work.txt")
    assert api.post("/api/workshop/claim", {"name": "Max", "email": "max@example.com"}).status_code == 200
    archive = f"{COLLECT}/{first['id']}/archive"
    for method, path in (("POST", COLLECT), ("GET", COLLECT), ("GET", archive), ("POST", TEARDOWN)):
        is_error(api.send(method, path, headers={"X-Forwarded-For": "203.0.113.9"}), 401, "UNAUTHORIZED")
    is_error(api.get(archive), 404, "NOT_FOUND")
    is_error(api.post(TEARDOWN, {"collected": "never"}), 400, None, "collected")
    refused = is_error(api.post(TEARDOWN, headers=ADMIN), 409, "NOT_COLLECTED", "missing")
    assert refused["details"]["missing"] == ["Workshop 1", "Workshop 2"]

    # One that does not run is collected as it is; and the API dies in the middle.
    assert api.post(f"/api/projects/{second['id']}/stop").status_code == 200
    job = begun(api, COLLECT)
    is_error(api.post(COLLECT), 409, "WORKSPACE_BUSY", "job")
    eventually(lambda: any(event["event"] == "progress" for event in api.stream_so_far(job)), "the first archive")
    api.kill()
    api.start()
    ended = api.ended(job)
    assert (ended["state"], ended["progress"]) == ("successful", {"done": 3, "total": 3})
    assert [(seat["projectName"], seat["error"]) for seat in ended["seats"]] == [
        *(("Workshop 1", None), ("Workshop 2", None), ("Workshop", None))
    ]
    assert "is not running" in ended["seats"][1]["warnings"][0]
    shown = api.get(COLLECT, headers=ADMIN).json()
    assert [(row["projectName"], row["isBase"], row["collected"]) for row in shown["workspaces"]] == [
        *(("Workshop 1", False, True), ("Workshop 2", False, True), ("Workshop", True, True))
    ]
    entry = next(seat for seat in shown["seats"] if seat["projectId"] == first["id"])
    answer = api.get(archive, headers=ADMIN)
    assert answer.headers["content-disposition"] == f'attachment; filename="{entry["file"]}"'
    assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (entry["bytes"], entry["sha256"])
    assert read(answer.content, "workspace/work.txt") == b"mine\n"

    # An archive that was damaged since keeps all seats, and is taken again.
    (damaged,) = (instance.state / "archives" / "workshop-workshop").glob(f"*_{second['id']}_*")
    damaged.write_bytes(bytes(damaged.stat().st_size))
    ended = api.ended(begun(api, TEARDOWN))
    assert (ended["state"], [seat["status"] for seat in ended["seats"]]) == ("failed", ["running", "stopped"])
    assert "Workshop 2" in ended["error"]
    assert api.ended(begun(api, COLLECT))["state"] == "successful"
    job = begun(api, TEARDOWN)
    eventually(lambda: api.status(first["id"]) == "absent", "the first seat is gone")
    api.kill()
    api.start()
    ended = api.ended(job)
    assert (ended["state"], [seat["status"] for seat in ended["seats"]]) == ("successful", ["deleted", "deleted"])
    assert {row["name"] for row in instance.rows()} == {"Workshop", "another"}
    kept = {instance.container_name(base), instance.container_name(other)}
    assert {container.name for container in instance.containers()} == kept
    history = api.get("/api/workshop/claims", headers=ADMIN).json()
    assert (history["claims"], [entry["email"] for entry in history["history"]]) == ([], ["max@example.com"])
    # What was collected is still there, and nothing is left to do, but for the base.
    assert read(api.get(archive).content, "workspace/work.txt") == b"mine\n"
    is_error(api.post(TEARDOWN), 404, "NOT_FOUND")
    assert api.ended(begun(api, TEARDOWN, base=True))["state"] == "successful"
    assert [row["name"] for row in instance.rows()] == ["another"]
    assert {entry["outcome"] for entry in api.audit("collect")} == {"successful"}
    assert {entry["outcome"] for entry in api.audit("teardown")} >= {"successful", "failed: NOT_COLLECTED"}

    # What nobody wants goes without.
    base = api.create("Workshop", group="workshop")
    (seat,), job = api.clone(base["id"], 1)
    assert api.ended(job)["state"] == "successful"
    assert api.ended(begun(api, TEARDOWN, collected="ignore"))["state"] == "successful"
    assert api.status(seat) == "absent"


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
