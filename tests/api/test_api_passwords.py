"""Passwords: asked for, counted, changed in the real IDE, and found nowhere that they should not be."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import SCRATCH, Api, is_error
from tests.module.installation import asks_for_password, login

FIRST, SECOND, THIRD = "canary-first-Kx7", "canary-second-Qw9", "canary-third-Zt4"
WRONG = "canary-wrong-Ln2"
CANARIES = (FIRST, SECOND, THIRD, WRONG)


@pytest.fixture(scope="module")
def secret(api: Api) -> Iterator[dict[str, Any]]:
    made = api.create("guarded", passwordProtected=True, password=FIRST)
    yield made
    api.instance.forget(made)


def test_ten_wrong_guesses_a_minute(own: Callable[..., Api]) -> None:
    api = own().start()
    first, second = (api.create(name, passwordProtected=True, password=FIRST) for name in ("one", "two"))
    stop = f"/api/projects/{first['id']}/stop"
    for _ in range(3):  # none at all is no guess
        is_error(api.post(stop), 401, "INVALID_WORKSPACE_PASSWORD")
    # All at once, so that none slips by uncounted.
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: api.post(stop, {"password": WRONG}), range(30)))
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 20
    for call in (
        lambda: api.post(stop, {"password": FIRST}),
        lambda: api.post(f"/api/projects/{first['id']}/start", {"password": FIRST}),
        lambda: api.delete(f"/api/projects/{first['id']}", {"password": FIRST}),
        lambda: api.put(f"/api/projects/{first['id']}/password", {"currentPassword": FIRST, "removePassword": True}),
    ):
        answer = call()
        is_error(answer, 429, "TOO_MANY_ATTEMPTS", "retry_after")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert api.status(first["id"]) == "running"
    refused = [entry for entry in api.audit("stop") if entry["workspace"] == first["id"]]
    assert "refused: TOO_MANY_ATTEMPTS" in {entry["outcome"] for entry in refused}
    assert "refused: INVALID_WORKSPACE_PASSWORD" in {entry["outcome"] for entry in refused}
    # Another workspace is another matter.
    assert api.post(f"/api/projects/{second['id']}/stop", {"password": FIRST}).status_code == 200


def test_the_ide_takes_a_change_at_once_and_a_stopped_one_at_its_start(api: Api, secret: dict[str, Any]) -> None:
    path = f"/api/projects/{secret['id']}"
    address = api.instance.row("guarded")["address"]
    started = api.instance.container(secret).attrs["State"]["StartedAt"]
    assert asks_for_password(address)
    assert login(address, FIRST)
    answer = api.put(f"{path}/password", {"currentPassword": FIRST, "newPassword": SECOND})
    assert answer.json() == {"success": True, "message": "Password updated successfully", "passwordProtected": True}
    assert not login(address, FIRST)
    assert login(address, SECOND)
    # No process of the former user remains: the container was started again.
    assert api.instance.container(secret).attrs["State"]["StartedAt"] != started
    is_error(api.post(f"{path}/stop", {"password": FIRST}), 401, "INVALID_WORKSPACE_PASSWORD")

    assert api.post(f"{path}/stop", {"password": SECOND}).status_code == 200
    assert api.put(f"{path}/password", {"currentPassword": SECOND, "newPassword": THIRD}).status_code == 200
    assert api.status(secret["id"]) == "stopped"
    assert api.post(f"{path}/start").status_code == 200
    assert not login(address, SECOND)
    assert login(address, THIRD)

    answer = api.put(f"{path}/password", {"currentPassword": THIRD, "removePassword": True})
    assert answer.json()["passwordProtected"] is False
    assert not asks_for_password(address)
    assert api.project(secret["id"])["passwordProtected"] is False
    assert api.put(f"{path}/password", {"currentPassword": WRONG, "newPassword": FIRST}).status_code == 200
    assert login(address, FIRST)


def test_no_password_is_found_where_it_should_not_be(own: Callable[..., Api]) -> None:
    """Also not on a command line or in an environment while the playbooks run."""
    api = own().start()
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        own_pids = {os.getpid()}
        while not over.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                if int(entry.name) in own_pids:
                    continue
                with suppress(OSError):
                    text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    seen.update(canary for canary in CANARIES if canary.encode() in text)
            for file in SCRATCH.glob("atelier-run-*/**/*"):
                with suppress(OSError):
                    text = file.read_bytes() if file.is_file() else b""
                    seen.update(f"{file}: {canary}" for canary in CANARIES if canary.encode() in text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = api.create("guarded-too", passwordProtected=True, password=FIRST)
        path = f"/api/projects/{made['id']}"
        is_error(api.post(f"{path}/stop", {"password": WRONG}), 401)
        is_error(api.post("/api/projects/create", {"projectName": "x", "password": WRONG + "\n"}), 400)
        assert api.put(f"{path}/password", {"currentPassword": FIRST, "newPassword": SECOND}).status_code == 200
        _, job = api.clone(made["id"], 2, password=THIRD)
        assert api.ended(job)["state"] == "successful"
    finally:
        over.set()
        watcher.join()
    assert seen == set()

    texts = {
        "projects": api.get("/api/projects/").text,
        "jobs": api.get("/api/jobs").text,
        "audit": api.get("/api/audit").text,
        "metrics": api.get("/metrics").text,
        "log": api.read_log(),
        **{f"events of {job['id']}": str(api.events(job["id"])) for job in api.jobs()},
    }
    for file in [*api.instance.state.rglob("*"), *SCRATCH.glob("atelier-run-*/**/*")]:
        with suppress(FileNotFoundError):  # it was replaced meanwhile
            if file.is_file():
                texts[str(file)] = file.read_bytes().decode(errors="replace")
    for container in api.instance.containers():
        texts[container.name] = str(container.attrs) + container.logs().decode(errors="replace")
    for place, text in texts.items():
        assert not [canary for canary in CANARIES if canary in text], place
    assert [folder for job in api.jobs() for folder in SCRATCH.glob(f"atelier-run-{job['id']}-*")] == []
    # Hashes are what the database has; answers have not even those.
    for row in api.instance.rows():
        assert row["password_hash"].startswith("$argon2id$")
    for place in ("projects", "jobs", "audit", "metrics", "log"):
        assert "argon2" not in texts[place], place
