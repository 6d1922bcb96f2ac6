"""A full disk under the state folder: changes are refused and leave nothing behind, reads work, and everything resumes
when there is space again, without a restart."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.running import TOKEN, Api
from tests.api.test_api_workshop import add_seats, claim

ADMIN = "canary-admin-Hy5"
REMOTE = {"X-Forwarded-For": "203.0.113.9"}
NO_SPACE = ("REGISTRY_ERROR", "DISK_FULL")


@pytest.fixture
def api(own: Callable[..., Api]) -> Iterator[Api]:
    """An API whose state folder is a separate small file system."""
    api = own(workshop={"admin_password": ADMIN})
    state = api.instance.state
    for file in state.iterdir():
        file.unlink()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(state)], check=True)
    try:
        yield api.start()
    finally:
        api.close()
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(state: Path) -> None:
    """Takes every byte that is left."""
    with (state / "ballast").open("ab", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError:
                continue
    assert os.statvfs(state).f_bavail == 0


def content(api: Api) -> dict[str, list[dict[str, Any]]]:
    tables = ("workspaces", "claims", "jobs", "aliases", "extensions")
    return {table: api.instance.query(f"SELECT * FROM {table}") for table in tables}  # noqa: S608


def changes(api: Api, project: str, number: int) -> dict[str, Callable[[], httpx.Response]]:
    """Every way to write, each with fresh values."""
    path = f"/api/projects/{project}"
    remote = {"headers": REMOTE}
    return {
        "create": lambda: api.post("/api/projects/create", {"projectName": f"new-{number}", "projectType": "empty"}),
        "clone": lambda: api.post(f"{path}/clone", {"count": 3}),
        "notes": lambda: api.put(f"{path}/notes", {"notes": f"{number} " * 2000}),
        "rename": lambda: api.put(f"{path}/name", {"name": f"Name {number}"}),
        "group": lambda: api.put(f"{path}/group", {"group": f"group-{number}"}),
        "extend": lambda: api.post(f"{path}/extend", {"minutes": 60 + number}),
        "alias": lambda: api.post(f"{path}/aliases", {"subdomain": f"demo-{number}", "port": 3000}),
        "password": lambda: api.put(f"{path}/password", {"newPassword": f"some-password-{number}"}),
        "stop": lambda: api.post(f"{path}/stop", {"password": "some-password-1"}),
        "claim": lambda: claim(api, f"p{number}@example.com"),
        "sign in": lambda: api.post("/api/session", {"token": TOKEN}, **remote),
        "sign in to the workshop": lambda: api.post("/api/session", {"workshopPassword": ADMIN}, **remote),
        "rehearse": lambda: api.post("/api/workshop/rehearse", {"projectId": project}, params={"password": ADMIN}),
    }


@pytest.mark.timeout(300, func_only=True)
def test_a_full_disk_refuses_changes_and_loses_nothing(api: Api) -> None:
    made = api.create("base-of-all")
    add_seats(api, 5)
    assert claim(api, "before@example.com").status_code == 200
    state = api.instance.state
    # Without room in the write-ahead log, whatever is written needs new space.
    with closing(sqlite3.connect(state / "registry.sqlite3")) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    before = content(api)
    fill(state)

    for name, change in changes(api, made["id"], 1).items():
        answer = change()
        assert (answer.status_code, answer.json()["code"] in NO_SPACE) == (503, True), (name, answer.text)
        assert "space" in answer.json()["message"], name
        assert content(api) == before, name
    # Who was signed in could still look, and nobody was signed in by a session that is not kept.
    for path in (
        "projects/",
        f"projects/{made['id']}",
        "jobs",
        "audit",
        "workshop/status",
        "health",
        "workspace/stats",
    ):
        assert api.get(f"/api/{path}").status_code == 200, path
    assert api.get("/api/workshop/claims", params={"password": ADMIN}).json()["claims"][0]["email"] == (
        "before@example.com"
    )
    assert not [file for file in state.rglob(".*") if file.is_file()], "a half-written file is left"

    (state / "ballast").unlink()
    for name, change in changes(api, made["id"], 2).items():
        if name not in ("stop", "clone", "rehearse", "create", "password"):
            answer = change()
            assert answer.status_code in (200, 201), (name, answer.text)
    assert {job["state"] for job in api.jobs()} == {"successful"}
    told = {(entry["what"], entry["outcome"]) for entry in api.audit()}
    assert {("create", "refused: REGISTRY_ERROR"), ("claim", "successful"), ("notes", "successful")} <= told
    shown = api.project(made["id"])
    assert (shown["name"], shown["group"], shown["aliases"][0]["subdomain"]) == ("Name 2", "group-2", "demo-2")
    with closing(sqlite3.connect(state / "registry.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "Traceback" not in api.read_log(), api.read_log()[-3000:]


@pytest.mark.timeout(300, func_only=True)
def test_what_was_answered_is_kept_while_the_disk_fills(api: Api) -> None:
    """Another program fills the disk, and frees space now and then."""
    add_seats(api, 40)
    names: dict[str, str] = {}
    seats: dict[str, str] = {}
    ids = [row["id"] for row in api.instance.rows()]
    answered = {200: 0, 503: 0}
    for round in range(4):
        fill(api.instance.state)
        for number, id in enumerate(ids):
            if number == len(ids) // 2:
                (api.instance.state / "ballast").unlink()
            name, email = f"Name {round} {number}", f"p{round}-{number}@example.com"
            notes = api.put(f"/api/projects/{id}/notes", {"notes": name * 50})
            if notes.status_code == 200:
                names[id] = name * 50
            asked = claim(api, email)
            if asked.status_code == 200:
                seats[email] = asked.json()["projectName"]
            for answer in (notes, asked):
                assert answer.status_code == 200 or answer.json()["code"] in (*NO_SPACE, "WORKSHOP_FULL"), answer.text
                answered[answer.status_code] += 1
    assert answered[200] > 20
    assert answered[503] > 20
    # And it is still there when the machine went down meanwhile.
    api.kill()
    assert {row["id"]: row["notes"] for row in api.instance.rows() if row["notes"]} == names
    kept = {row["email"]: row["seat_name"] for row in api.instance.query("SELECT * FROM claims")}
    assert kept == seats
    with closing(sqlite3.connect(api.instance.state / "registry.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
