"""Recordings and access logs of a workspace that was on several machines. A node's files are read by programs there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import Node, ProxyMode, Site
from atelier.egress.squid_log import last_requests_anywhere
from atelier.engine.docker_errors import Place
from atelier.engine.several import ask_all
from atelier.recordings.folders import Recorded, recorded_anywhere, recorded_on_node
from atelier.recordings.store import (
    all_conversations,
    conversations,
    delete_conversation,
    delete_conversations,
    domains,
    remove_recordings,
)
from support import refused, row, site

ID, OTHER = "0123456789ab", "ba9876543210"
TIMES = [f"2026-02-14T10:0{number}:00.000Z" for number in range(4)]


class NodeEngine:
    """Runs what the core runs in a node's containers, with this folder's ``recordings`` and ``srv`` as theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def execute(
        self, container: str, command: Sequence[str], *, seconds: float, limit: int, user: str = ""
    ) -> tuple[int, str]:
        assert container in ("test-recorder", "test-squid")
        self.runs += 1
        known = {"/recordings": f"{self.folder}/recordings", "/srv/squid": f"{self.folder}/squid"}
        for inside, here in known.items():
            command = [word.replace(inside, here) for word in command]
        done = subprocess.run(command, capture_output=True, check=False, timeout=seconds)
        output = (done.stdout + done.stderr).decode(errors="replace")
        assert len(output) <= limit
        return done.returncode, output


class Installation:
    def __init__(self, folder: Path) -> None:
        names = ("alpha", "beta")
        self.site: Site = replace(site(folder / "here"), nodes=tuple(Node(name, "unix:///nowhere") for name in names))
        self.engines: dict[str, Any] = {name: NodeEngine(folder / name) for name in names}
        for machine in ("here", *names):
            (folder / machine / "recordings").mkdir(parents=True)

    def engine_of(self, node: str) -> Any:
        if node not in self.engines:
            raise Place("https://nowhere", node).unreachable("down")
        return self.engines[node]

    def recorded(self) -> Recorded:
        return recorded_anywhere(self.site, self.engine_of, ID)


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def write(machine: Path, timestamp: str, model: str = "gpt", **more: Any) -> None:
    folder = machine / "recordings" / ID / "conversations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{timestamp.replace(':', '-')}.json").write_text(json.dumps({"model": model, **more}))


def note(machine: Path, **found: tuple[int, str, str]) -> None:
    entries = {
        f"{name}.example": {"count": count, "first_seen": first, "last_seen": last}
        for name, (count, first, last) in found.items()
    }
    (machine / "recordings" / ID).mkdir(exist_ok=True)
    (machine / "recordings" / ID / "domains.json").write_text(json.dumps(entries))


def test_recordings_are_found_wherever_the_workspace_was(tmp_path: Path, installed: Installation) -> None:
    write(tmp_path / "here", TIMES[0])
    write(tmp_path / "alpha", TIMES[1], "claude", text="Käse, 'quoted' $(x) \x00")
    write(tmp_path / "beta", TIMES[2])
    write(tmp_path / "alpha", TIMES[3])
    (tmp_path / "alpha" / "recordings" / ID / "conversations" / ".new-x.json").write_text("{}")
    note(tmp_path / "here", a=(2, TIMES[0], TIMES[1]), b=(1, TIMES[0], TIMES[0]))
    note(tmp_path / "alpha", a=(3, TIMES[2], TIMES[3]))
    found = installed.recorded()
    assert found.unanswered == []
    assert [one["timestamp"] for one in all_conversations(found)] == TIMES
    page = conversations(found, limit=2, offset=1)
    assert ([one["timestamp"] for one in page.conversations], page.total) == ([TIMES[2], TIMES[1]], 4)
    (one,) = conversations(found, model="claude").conversations
    assert one["text"] == "Käse, 'quoted' $(x) \x00"
    assert domains(found) == {
        "a.example": {"count": 5, "first_seen": TIMES[0], "last_seen": TIMES[3]},
        "b.example": {"count": 1, "first_seen": TIMES[0], "last_seen": TIMES[0]},
    }


def test_a_page_asks_a_node_once(tmp_path: Path, installed: Installation) -> None:
    for number in range(100):
        write(tmp_path / "alpha", f"2026-02-14T10:00:00.{number:03}Z")
    assert len(conversations(installed.recorded(), limit=100).conversations) == 100
    assert installed.engines["alpha"].runs == 2, "what there is, and the page"


def test_large_recordings_come_in_portions(tmp_path: Path, installed: Installation) -> None:
    for timestamp in TIMES:
        write(tmp_path / "alpha", timestamp, text="x" * 6 * 1024**2)
    found = installed.recorded()
    assert [one["timestamp"] for one in all_conversations(found)] == TIMES
    assert installed.engines["alpha"].runs == 3


def test_a_node_that_does_not_answer_is_named(tmp_path: Path, installed: Installation) -> None:
    write(tmp_path / "here", TIMES[0])
    write(tmp_path / "alpha", TIMES[1])
    del installed.engines["alpha"]
    found = installed.recorded()
    assert found.unanswered == ["alpha"]
    assert conversations(found).total == 1


def test_recordings_are_deleted_wherever_they_are(tmp_path: Path, installed: Installation) -> None:
    for machine in ("here", "alpha", "beta"):
        write(tmp_path / machine, TIMES[0])
        write(tmp_path / machine, TIMES[1])
        note(tmp_path / machine, a=(1, TIMES[0], TIMES[0]))
    delete_conversation(installed.recorded(), TIMES[0])
    with pytest.raises(AtelierError) as error:
        delete_conversation(installed.recorded(), TIMES[0])
    assert ID in refused(error, Code.NOT_FOUND, "timestamp")
    assert delete_conversations(installed.recorded()) == 3
    assert domains(installed.recorded())["a.example"]["count"] == 3
    assert remove_recordings(installed.recorded())
    assert not [*tmp_path.glob("*/recordings/*")]
    assert not remove_recordings(installed.recorded())


def test_a_node_tells_whose_recordings_it_has(tmp_path: Path, installed: Installation) -> None:
    for name in (ID, OTHER, "lost+found"):
        (tmp_path / "alpha" / "recordings" / name).mkdir()
    assert recorded_on_node(installed.site, installed.engines["alpha"]) == [ID, OTHER]


def log_line(moment: float, client: str, url: str = "example.org:443") -> str:
    return f"{moment:.3f} 12 {client} TCP_TUNNEL/200 99 CONNECT {url} - HIER_DIRECT/192.0.2.1 -\n"


def test_an_access_log_is_found_wherever_the_workspace_was(tmp_path: Path, installed: Installation) -> None:
    seat = row(address="10.9.2.16", proxy_mode=ProxyMode.SECURITY, created_at="2026-01-01T00:00:00.000Z")
    born = 1767225600.0
    for machine in ("here", "alpha", "beta"):
        (tmp_path / machine / "squid" / "log").mkdir(parents=True)
    logs = {name: tmp_path / name / "squid" / "log" for name in ("here", "alpha", "beta")}
    (logs["here"] / "access.log").write_text(log_line(born + 1, seat.address, "one.example:443"))
    # Of another owner of the address, of another client, and no line.
    (logs["alpha"] / "access.log.1").write_text(log_line(born - 5, seat.address, "before.example:443"))
    (logs["alpha"] / "access.log.0").write_text(log_line(born + 2, seat.address, "two.example:443"))
    (logs["alpha"] / "access.log").write_text(
        log_line(born + 3, seat.address, "three.example:443") + log_line(born + 4, "10.9.2.160") + "broken\n"
    )
    entries, unanswered = last_requests_anywhere(installed.site, installed.engine_of, seat, 10)
    assert [entry.url for entry in entries] == ["one.example:443", "two.example:443", "three.example:443"]
    assert unanswered == []
    entries, _ = last_requests_anywhere(installed.site, installed.engine_of, seat, 2)
    assert [entry.url for entry in entries] == ["two.example:443", "three.example:443"]
    del installed.engines["beta"]
    assert last_requests_anywhere(installed.site, installed.engine_of, seat, 2)[1] == ["beta"]


def test_all_are_asked_and_each_answers_for_itself() -> None:
    def ask(node: str) -> int:
        if node == "beta":
            raise Place("https://nowhere", node).unreachable("down")
        return len(node)

    answers, failures = ask_all(["alpha", "beta"], ask)
    assert (answers, list(failures)) == ({"alpha": 5}, ["beta"])
    assert ask_all([], ask) == ({}, {})
