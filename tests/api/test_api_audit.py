"""The audit log: caller, change and result, one line each, newest first, in files of limited size."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.auth import audit as audit_module
from api.auth.audit import Audit
from tests.api.running import TOKEN, Api
from tests.api.test_api_workshop import add_seats


def test_every_change_stands_in_it(own: Callable[..., Api]) -> None:
    api = own().start()
    made = api.create("audited")
    path = f"/api/projects/{made['id']}"
    remote = {"X-Forwarded-For": "203.0.113.9", "Authorization": f"Bearer {TOKEN}"}
    api.put(f"{path}/notes", {"notes": "secret thoughts"}, headers=remote)
    api.put(f"{path}/name", {"name": "renamed"})
    api.put(f"{path}/group", {"group": "g"})
    api.put(f"{path}/password", {"newPassword": "some-password-1"})
    api.post(f"{path}/stop", {"password": "wrong-password"}, headers=remote)
    api.post(f"{path}/stop", {"password": "some-password-1"})
    api.post(f"{path}/start")
    ids, clone = api.clone(made["id"], 2)
    api.ended(clone)
    api.post("/api/projects/create", {"projectName": "renamed-x", "projectType": "empty", "group": "g"})
    api.post("/api/projects/create", {"projectName": "renamed-x", "projectType": "empty", "group": "g"})
    api.delete(path, {"password": "some-password-1"})
    api.get("/api/projects/")

    entries = list(reversed(api.audit()))
    told = [(entry["who"], entry["what"], entry["workspace"], entry["outcome"]) for entry in entries]
    here, there = "loopback", "token 203.0.113.9"
    other = next(row["id"] for row in api.instance.rows() if row["name"] == "renamed-x")
    assert told == [
        (here, "create", made["id"], "successful"),
        (there, "notes", made["id"], "successful"),
        (here, "rename", made["id"], "successful"),
        (here, "group", made["id"], "successful"),
        (here, "password", made["id"], "successful"),
        (there, "stop", made["id"], "refused: INVALID_WORKSPACE_PASSWORD"),
        (here, "stop", made["id"], "successful"),
        (here, "start", made["id"], "successful"),
        *((here, "clone", id, "successful") for id in ids),
        (here, "create", other, "successful"),
        (here, "create", None, "refused: PROJECT_EXISTS"),
        (here, "delete", made["id"], "successful"),
    ]
    jobs = {job["id"]: job["operation"] for job in api.jobs()}
    for entry in entries:
        if entry["job"] is not None:
            assert jobs[entry["job"]] == entry["what"]
        else:
            assert entry["what"] in ("notes", "rename", "group") or entry["outcome"].startswith("refused")
    assert {entry["source"] for entry in entries if entry["what"] == "clone"} == {made["id"]}
    newest = api.get("/api/audit", params={"limit": 2}).json()["entries"]
    assert newest == list(reversed(entries))[:2]
    file = api.instance.state / "audit" / "audit.log"
    assert [json.loads(line) for line in file.read_text().splitlines()] == entries
    assert "secret thoughts" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_strangers_displace_no_change(own: Callable[..., Api]) -> None:
    """Any number of refusals does not displace changes from the log and the answer."""
    api = own(workshop={"access_code": "canary-code-Bn8"}).start()
    (seat,) = add_seats(api, 1)
    assert api.put(f"/api/projects/{seat}/notes", {"notes": "kept"}).status_code == 200
    stranger = {"X-Forwarded-For": "203.0.113.9"}
    statuses = Counter(api.post("/api/session", {"token": "x"}, headers=stranger).status_code for _ in range(200))
    assert statuses == {401: 10, 429: 190}
    person = {"name": "Max", "email": "max@example.com"}
    statuses = Counter(api.post("/api/workshop/claim", person, headers=stranger).status_code for _ in range(320))
    assert statuses == {403: 300, 429: 20}
    assert api.delete("/api/session", headers=stranger).status_code == 200
    folder = api.instance.state / "audit"
    (change,) = (folder / "audit.log").read_text().splitlines()
    assert json.loads(change)["what"] == "notes"
    assert len((folder / "refusals.log").read_text().splitlines()) <= 8
    newest = api.get("/api/audit", params={"limit": 4}).json()["entries"]
    assert "notes" in {entry["what"] for entry in newest}
    assert "sign-in" in {entry["what"] for entry in api.audit()}


def test_files_rotate_and_are_read_across(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "_FILE_BYTES", 4000)
    log = Audit(tmp_path)
    for number in range(300):
        log.write("somebody\nelse", "notes", f"{number}", "successful", None)
    log.close()
    files = sorted(path.name for path in (tmp_path / "audit").iterdir())
    assert files == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3", "audit.log.4"]
    for path in (tmp_path / "audit").iterdir():
        assert path.stat().st_size <= 4000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = [entry["workspace"] for entry in Audit(tmp_path).newest(1000)]
    assert kept == [str(number) for number in range(299, 299 - len(kept), -1)]
    assert len(kept) > 100
    # A line that was cut off by a crash is passed over.
    with (tmp_path / "audit" / "audit.log").open("ab") as file:
        file.write(b'{"at": "2026')
    entries: list[dict[str, Any]] = Audit(tmp_path).newest(3)
    assert [entry["workspace"] for entry in entries] == ["299", "298", "297"]
