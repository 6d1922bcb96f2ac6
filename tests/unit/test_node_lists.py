"""Whitelists of nodes: missing ones are copied, checked and confirmed, and Squid runs only while that continues."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import Message
from atelier.common.models import CONTROLLER, GIB, Network, Node, ProxyMode, Site, Workspace
from atelier.containers.node_lists import NodeLists, has_node_lists, ready_proxy
from atelier.database.placement import Machine
from atelier.database.workspace_store import WorkspaceStore, new_id
from atelier.egress.squid_config import Configuration
from atelier.engine.docker_errors import Place
from atelier.engine.models import File
from atelier.reconcile import _missing_lists
from support import ROOMY, context, refused, site

PROGRAMS = Path(__file__).parents[2] / "roles/squid/files/image"
NETWORKS = {
    ProxyMode.NONE: Network("test-open", IPv4Network("10.9.0.0/24")),
    ProxyMode.SECURITY: Network("test-security", IPv4Network("10.9.2.0/24"), 3128),
}
FRAME = "http_port 10.9.2.1:3128\ndeny_info 307:http://configuration.invalid/@digest@ question\n@whitelist@\n"


def three(folder: Path) -> Site:
    nodes = (Node("alpha", "unix:///alpha"), Node("beta", "unix:///beta"))
    return replace(site(folder), networks=NETWORKS, nodes=nodes)


def configuration(*entries: str) -> Configuration:
    return Configuration.composed(FRAME, entries)


class NodeEngine:
    """A node's engine with its Squid's container: files, and what Squid runs with."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.runs: str | None = None
        self.confirmed = 0
        self.refuses = ""
        self.reconfigures = True
        self.written: list[str] = []

    def put(self, container: str, folder: str, files: Sequence[File]) -> None:
        assert container == "test-squid"
        for file in files:
            assert str(file.path.parent) == folder
            self.files[str(file.path)] = file.data

    def execute(self, container: str, command: Sequence[str], **options: Any) -> tuple[int, str]:
        program, *arguments = command
        if program.endswith("confirm-lists"):
            return 0, self._confirm(arguments[3], arguments[4:])
        if program.endswith("mv"):
            assert options["user"] == "root"
            self.files[arguments[2]] = self.files.pop(arguments[1])
            self.written.append(arguments[2])
            return 0, ""
        if arguments[1] == "parse":
            assert arguments[3] in self.files
            return 0, self.refuses
        assert arguments[1] == "reconfigure"
        if self.reconfigures:
            self.runs = Configuration(self.files["/srv/squid/squid.conf"].decode()).digest
        return 0, ""

    def _confirm(self, digest: str, files: Sequence[str]) -> str:
        sums = dict(file.rsplit("=", 1) for file in files)
        wrong = [path for path, sum in sums.items() if hashlib.sha256(self.files.get(path, b"")).hexdigest() != sum]
        if wrong:
            return " ".join(["differ", *wrong])
        if self.runs not in (None, digest):
            return "other"
        self.confirmed += 1
        answer = "confirmed" if self.runs else "starting"
        self.runs = digest
        return f"{answer}\n"


class StuckEngine(NodeEngine):
    """A node whose Squid's container runs no program to its end."""

    def execute(self, container: str, command: Sequence[str], **options: Any) -> tuple[int, str]:
        why = Message("docker.run_seconds", name=command[0], container=container, most=options["seconds"])
        raise AtelierError(Code.ENGINE_ERROR, why, remedy=Message("docker.held_up"), limit="seconds")


class Engines:
    def __init__(self, **engines: NodeEngine) -> None:
        self._engines = engines

    def of(self, node: str) -> Any:
        if node not in self._engines:
            raise Place("https://nowhere", node).unreachable("down")
        return self._engines[node]


@pytest.fixture
def lists(tmp_path: Path) -> Iterator[NodeLists]:
    (tmp_path / "squid").mkdir()
    (tmp_path / "squid" / "squid.conf").write_text(configuration(".debian.org", ".example.org").text)
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        yield NodeLists(three(tmp_path), store, Locks(tmp_path), wait=0.5)


def test_a_node_whose_squid_is_stuck_is_named_with_its_own_remedy(lists: NodeLists) -> None:
    node: Any = StuckEngine()
    with pytest.raises(AtelierError) as error:
        lists.bring("alpha", node)
    told = refused(error, Code.SQUID_ERROR)
    assert "Squid on the machine alpha" in told and "did not end within 10 seconds" in told
    assert "./atelier up" in told and "workspace" not in told


def test_a_node_gets_what_it_lacks_and_nothing_else(lists: NodeLists, tmp_path: Path) -> None:
    node: Any = NodeEngine()
    assert lists.bring("alpha", node)
    assert node.files["/srv/squid/squid.conf"].decode() == configuration(".debian.org", ".example.org").text
    assert (node.files["/srv/squid/groups.json"], node.files["/srv/egress/workspaces.json"]) == (b"{}", b"{}")
    assert node.confirmed
    node.written.clear()
    assert not lists.bring("alpha", node)
    assert not node.written
    # A new workspace concerns one file only.
    order = Workspace(new_id(), "seat", "empty", proxy_mode=ProxyMode.SECURITY, group="school")
    (row,) = lists.store.reserve([order], [Machine("alpha", 8 * GIB)])
    assert row.node == "alpha", "a proxied workspace is placed like any other"
    (tmp_path / "squid" / "groups.json").write_text('{"school": [".example.com"]}')
    assert lists.bring("alpha", node)
    assert node.written == ["/srv/squid/groups.json", "/srv/egress/workspaces.json"]
    assert json.loads(node.files["/srv/egress/workspaces.json"]) == {row.address: {"id": row.id, "group": "school"}}


def test_a_running_squid_is_reconfigured_and_asked(lists: NodeLists, tmp_path: Path) -> None:
    node: Any = NodeEngine()
    lists.bring("alpha", node)
    (tmp_path / "squid" / "squid.conf").write_text(configuration(".debian.org").text)
    assert lists.bring("alpha", node)
    assert node.runs == configuration(".debian.org").digest
    # A run that was killed before Squid was notified.
    node.runs = "0123456789abcdef"
    assert not lists.bring("alpha", node)
    assert node.runs == configuration(".debian.org").digest


def test_a_squid_that_does_not_take_the_list_is_not_confirmed(lists: NodeLists, tmp_path: Path) -> None:
    node: Any = NodeEngine()
    node.refuses = "FATAL: Bungled squid.conf line 7"
    with pytest.raises(AtelierError) as error:
        lists.bring("alpha", node)
    assert "Bungled" in refused(error, Code.SQUID_ERROR)
    assert error.value.details["node"] == "alpha"
    assert "/srv/squid/squid.conf" not in node.files
    node.refuses = ""
    lists.bring("alpha", node)
    (tmp_path / "squid" / "squid.conf").write_text(configuration(".debian.org").text)
    node.reconfigures, node.confirmed = False, 0
    with pytest.raises(AtelierError, match=r"within 0\.5 seconds"):
        lists.bring("alpha", node)
    assert not node.confirmed


def test_a_node_that_is_away_is_told_and_keeps_nobody_waiting(lists: NodeLists) -> None:
    alpha: Any = NodeEngine()
    engines: Any = Engines(alpha=alpha)
    behind = lists.bring_everywhere(engines)
    assert list(behind) == ["beta"]
    assert behind["beta"].code is Code.NODE_UNAVAILABLE
    assert alpha.confirmed


def test_only_an_installation_with_nodes_and_proxies_has_lists_to_bring(tmp_path: Path) -> None:
    assert has_node_lists(three(tmp_path))
    assert not has_node_lists(replace(site(tmp_path), networks=NETWORKS))
    assert not has_node_lists(replace(three(tmp_path), networks={ProxyMode.NONE: NETWORKS[ProxyMode.NONE]}))


def test_a_workspace_with_a_proxy_waits_for_its_nodes_lists(lists: NodeLists) -> None:
    node = NodeEngine()
    here: Any = SimpleNamespace(
        site=lists.site, store=lists.store, locks=lists.locks, ready_timeout=0.5, node="alpha", engine=node
    )
    (open_one, proxied) = lists.store.reserve(
        [Workspace(new_id(), mode, "empty", proxy_mode=ProxyMode(mode)) for mode in ("none", "security")]
    )
    ready_proxy(here, open_one)
    assert not node.confirmed
    ready_proxy(here, proxied)
    assert proxied.address in node.files["/srv/egress/workspaces.json"].decode()
    # Many that start at once ask once.
    confirmed = node.confirmed
    ready_proxy(here, proxied)
    assert node.confirmed == confirmed
    # Another list is brought at once.
    lists.store.update(proxied.id, group_name="school")
    ready_proxy(here, proxied)
    assert node.confirmed > confirmed
    lists.store.update(proxied.id, group_name="college")
    (lists.site.state_dir / "squid" / "squid.conf").write_text(configuration(".debian.org").text)
    node.refuses = "FATAL: no"
    with pytest.raises(AtelierError):
        ready_proxy(here, proxied)
    here.node = CONTROLLER
    ready_proxy(here, proxied)


def test_reconcile_finds_a_node_without_the_lists(lists: NodeLists) -> None:
    node: Any = NodeEngine()
    common: Any = context(lists.site, lists.store, node)
    here: Any = SimpleNamespace(**{**vars(common), "node": "alpha", "engine": node})
    (drift,) = _missing_lists(here)
    assert (drift.kind, drift.subject) == ("node_lists", "alpha")
    drift.repair()
    assert not [*_missing_lists(here)]


# --- The node's own half --------------------------------------------------------------------------------------------


@pytest.fixture
def squid() -> Iterator[Any]:
    """A server that answers the host's question like Squid; ``digest`` can be set."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"http://configuration.invalid/{server.digest}")  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.digest = "0123456789abcdef"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_the_current_lists_are_confirmed(tmp_path: Path, squid: Any) -> None:
    lease, file = tmp_path / "lease", tmp_path / "groups.json"
    file.write_text("{}")

    def confirm(port: int, text: str = "{}") -> str:
        sum = f"{file}={hashlib.sha256(text.encode()).hexdigest()}"
        command = [sys.executable, PROGRAMS / "confirm-lists", lease, "127.0.0.1", str(port), "0123456789abcdef", sum]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    port = squid.server_address[1]
    assert confirm(port, "another") == f"differ {file}"
    squid.digest = "fedcba9876543210"
    assert confirm(port) == "other"
    assert not lease.exists(), "Squid may not run on with anything else"
    squid.digest = "0123456789abcdef"
    assert confirm(port) == "confirmed"
    assert lease.exists()
    lease.unlink()
    assert confirm(1) == "starting"
    assert lease.exists()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Callable[[], bool]]:
    """run-squid with a Squid that only waits; tells whether that runs."""
    (tmp_path / "squid.conf").touch()
    started = tmp_path / "started"
    fake = tmp_path / "squid"
    fake.write_text(f"#!/bin/sh\necho $$ >{started}\nexec sleep 60\n")
    fake.chmod(0o755)
    command = [sys.executable, PROGRAMS / "run-squid", tmp_path / "squid.conf", tmp_path / "log", "1000"]
    process = subprocess.Popen(
        [*map(str, command), str(tmp_path / "lease"), "1"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )

    def runs() -> bool:
        try:
            return Path(f"/proc/{int(started.read_text())}").exists()
        except (FileNotFoundError, ValueError):
            return False

    yield runs
    process.terminate()
    process.wait(10)


def test_squid_runs_only_while_the_lists_are_confirmed(tmp_path: Path, runner: Callable[[], bool]) -> None:
    def soon(wanted: bool) -> bool:
        deadline = time.monotonic() + 10
        while runner() is not wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        return runner() is wanted

    # The program looks five times a second.
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        assert not runner(), "nobody has confirmed anything"
    (tmp_path / "lease").touch()
    assert soon(True)
    assert soon(False), "the controller was not heard of again"
    (tmp_path / "lease").touch()
    assert soon(True)
