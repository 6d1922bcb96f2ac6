"""A seat's proxy environment, and the proxies' data about seats."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path, PurePosixPath

import pytest
from atelier.common.locks import Locks
from atelier.common.models import Network, ProxyMode, Workspace
from atelier.containers.container import start_container
from atelier.containers.proxy_environment import proxy_environment
from atelier.database.workspace_store import WorkspaceStore, new_id
from atelier.egress.clients import clients_file, write_client_map
from atelier.engine.models import File, TarExtract, archive_of
from support import ROOMY, context, site

NETWORKS = {
    ProxyMode.NONE: Network("test-open", IPv4Network("10.9.0.0/24")),
    ProxyMode.LOGGING: Network("test-logging", IPv4Network("10.9.1.0/24"), 8080),
    ProxyMode.SECURITY: Network("test-security", IPv4Network("10.9.2.0/24"), 3128),
}


@pytest.mark.parametrize(("mode", "proxy"), [("logging", "http://10.9.1.1:8080"), ("security", "http://10.9.2.1:3128")])
def test_programs_are_told_of_the_proxy_in_both_spellings(tmp_path: Path, mode: str, proxy: str) -> None:
    told = proxy_environment(replace(site(tmp_path), networks=NETWORKS), ProxyMode(mode))
    assert {told[name] for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")} == {proxy}
    assert told["no_proxy"] == told["NO_PROXY"]
    assert {"localhost", "127.0.0.1", ".localhost"} <= set(told["no_proxy"].split(","))
    # Only a seat that is recorded meets the recorder's certificates.
    assert ("NODE_EXTRA_CA_CERTS" in told) is (mode == "logging")


def test_a_seat_without_a_proxy_is_told_nothing(tmp_path: Path) -> None:
    assert proxy_environment(replace(site(tmp_path), networks=NETWORKS), ProxyMode.NONE) == {}


def test_the_proxies_know_who_is_behind_an_address(tmp_path: Path) -> None:
    proxied = replace(site(tmp_path), networks=NETWORKS)
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        for name, mode, group in (("a", "none", None), ("b", "security", "school"), ("c", "logging", None)):
            store.reserve([Workspace(new_id(), name, "empty", proxy_mode=ProxyMode(mode), group=group)])
        write_client_map(proxied, store, Locks(tmp_path))
        told = json.loads(clients_file(tmp_path).read_text())
        rows = {row.name: row for row in store.all()}
        assert told == {
            rows["b"].address: {"id": rows["b"].id, "group": "school"},
            rows["c"].address: {"id": rows["c"].id, "group": None},
        }
        # The proxies are no root.
        assert stat.S_IMODE(clients_file(tmp_path).stat().st_mode) == 0o644
        before = clients_file(tmp_path).stat()
        write_client_map(proxied, store, Locks(tmp_path))
        assert clients_file(tmp_path).stat().st_ino == before.st_ino


def test_without_proxies_nobody_is_told(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, site(tmp_path).networks, ROOMY) as store:
        write_client_map(site(tmp_path), store, Locks(tmp_path))
    assert not clients_file(tmp_path).exists()


class Engine:
    """A seat's files. A start ends the run, as often as ``kills`` says."""

    def __init__(self, kills: int) -> None:
        self.files = {"/etc/ssl/certs/ca-certificates.crt": b"Debian's\n"}
        self.updates = 0
        self._kills = kills

    def put(self, container: str, folder: str, files: Sequence[File]) -> None:
        self.files |= {str(file.path): file.data for file in files}

    def read(self, container: str, path: str, limit: int) -> TarExtract | None:
        data = self.files.get(path)
        if data is None:
            return None
        return TarExtract(PurePosixPath(path), archive_of([File(PurePosixPath(path), data, 0, 0, 0o644)], "/"))

    def start(self, container: str) -> None:
        self._kills -= 1
        if self._kills >= 0:
            raise KeyboardInterrupt

    def execute(self, container: str, command: Sequence[str], *, seconds: float, user: str) -> tuple[int, str]:
        """update-ca-certificates."""
        self.updates += 1
        folder = "/usr/local/share/ca-certificates/"
        own = b"".join(data for path, data in self.files.items() if path.startswith(folder))
        self.files["/etc/ssl/certs/ca-certificates.crt"] = b"Debian's\n" + own
        return 0, ""


@pytest.mark.parametrize("kills", [0, 1])
def test_a_seat_trusts_its_proxy_also_after_a_start_that_was_killed(tmp_path: Path, kills: int) -> None:
    """Otherwise each of its programs that use TLS fails for good."""
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "ca.pem").write_bytes(b"the recorder's\n")
    proxied, engine = replace(site(tmp_path), networks=NETWORKS), Engine(kills)
    with WorkspaceStore(tmp_path, NETWORKS, ROOMY) as store:
        (row,) = store.reserve([Workspace(new_id(), "seat", "empty", proxy_mode=ProxyMode.LOGGING)])
        here = context(proxied, store, engine).on()
        for _ in range(3):
            with suppress(KeyboardInterrupt):
                start_container(here, row)
    assert engine.files["/etc/ssl/certs/ca-certificates.crt"] == b"Debian's\nthe recorder's\n"
    # Once: it takes seconds with Java.
    assert engine.updates == 1
