"""A rehearsal with real seats, opened through a gateway: go, no-go, and leftovers of a killed one."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Api, is_error
from tests.waiting import eventually


class Gateway:
    """Like the real one, leads a connection to the address that the route map has for its host's first label."""

    def __init__(self) -> None:
        self.routes = Path()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(near,), daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            head = near.recv(65536)
            match = re.search(rb"(?i)\r\nhost: ([0-9a-f]{12})\.", head)
            known = dict(line.split() for line in self.routes.read_text().splitlines())
            with socket.create_connection((known[match[1].decode()] if match else "", 8082)) as far:
                far.sendall(head)
                while data := far.recv(65536):
                    near.sendall(data)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.close()


def verdict(api: Api, **body: Any) -> dict[str, Any]:
    begun = api.post("/api/workshop/rehearse", body)
    assert begun.status_code == 202, begun.text
    assert api.ended(begun.json()["jobId"])["state"] == "successful"
    last = api.get("/api/workshop/rehearse").json()
    assert last["job"]["id"] == begun.json()["jobId"]
    return dict(last["verdict"])


def test_a_rehearsal(own: Callable[..., Api], gateway: Gateway) -> None:
    api = own(port=gateway.port, max_concurrent_workspaces=6).start()
    gateway.routes = api.instance.state / "gateway" / "routes.map"
    is_error(api.post("/api/workshop/rehearse"), 400, None, "projectId")
    assert api.get("/api/workshop/rehearse").json() == {"success": True, "job": None, "verdict": None}
    base = api.create("Base", group="workshop")
    _, job = api.clone(base["id"], 2)
    assert api.ended(job)["state"] == "successful"

    found = verdict(api)  # as many as the workshop has
    # A busy machine may be slow, and then it is a no-go.
    reasons = [reason["id"] for reason in found.get("codes", {}).get("reasons", [])]
    assert reasons in ([], ["slow"]), found
    assert (found["go"], found["seats"], len(found["reasons"])) == (not reasons, 2, len(reasons))
    assert 0 < found["p50"] <= found["p95"]
    assert found["firstLimit"]["what"] == "max_concurrent_workspaces"
    # Whatever else the machine does meanwhile: an IDE takes some memory, and writes a few files.
    assert 20 * 1024**2 < found["memoryPerSeat"] < 1024**3
    assert 0 < found["diskPerSeat"] < 1024**3
    assert api.get("/api/workshop/status").json()["total"] == 2
    names = [row["name"] for row in api.instance.rows()]
    assert names == ["Base", "Base 1", "Base 2"]
    assert len(api.instance.containers()) == 3

    found = verdict(api, seats=4, projectId=base["id"])
    assert (found["go"], found["firstLimit"]) == (False, {"what": "max_concurrent_workspaces", "seats": 3})
    gateway.close()
    found = verdict(api, seats=1)
    assert (found["go"], found["p95"]) == (False, None)
    assert "gateway does not answer" in found["reasons"][0]

    # Canceled in the middle: what it made is cleared away.
    begun = api.post("/api/workshop/rehearse", {"seats": 3}).json()["jobId"]
    with api.instance.newest_held(6):
        eventually(lambda: len(api.instance.containers()) > 3, "a seat of the rehearsal")
        assert api.post(f"/api/jobs/{begun}/cancel").status_code == 202
    assert api.ended(begun)["state"] == "canceled"
    assert [row["name"] for row in api.instance.rows()] == names
    assert len(api.instance.containers()) == 3
    assert api.instance.play("workshop_rehearse", rehearse_source="Base", rehearse_seats=0).returncode != 0
