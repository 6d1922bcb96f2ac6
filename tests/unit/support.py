"""Shared by unit tests: a site, rows, containers as plain data. Nothing here uses Docker or the network."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.models import CONTROLLER, Network, ProxyMode, Quotas, Site, Status, Workspace
from atelier.containers.context import Context
from atelier.containers.seat_http import DIRECT, SeatRoute
from atelier.database.placement import Machine, checked_labels
from atelier.database.workspace_store import WorkspaceStore, new_id
from atelier.engine.models import Container

NETWORKS = {ProxyMode.NONE: Network("test-open", IPv4Network("10.9.0.0/24"))}
ROOMY = Quotas(1000, 1000, True, 8, 16384)


def quotas(per_user: int = 1000, concurrent: int = 1000, *, cpus: float = 8, memory_mb: int = 16384) -> Quotas:
    return Quotas(per_user, concurrent, True, cpus, memory_mb)


def site(state_dir: Path, *, port: int = 80, protocol: str = "http", memory_mb: int = 16384) -> Site:
    ceilings = quotas(memory_mb=memory_mb)
    return Site("test", state_dir, "unix:///nowhere", "test", "localhost", port, protocol, NETWORKS, ceilings)


def order(name: str, **values: object) -> Workspace:
    return Workspace(**{"id": new_id(), "name": name, "template": "empty", **values})  # type: ignore[arg-type]


def row(**values: object) -> Workspace:
    known: dict[str, object] = {
        "id": "0123456789ab",
        "name": "base",
        "template": "empty",
        "address": "10.9.0.16",
        "node": "controller",
        "node_labels": "",
        "created_at": "2026-01-01T00:00:00.000Z",
        "last_activity": "2026-01-01T00:00:00.000Z",
        "owner": "default",
        "status": Status.RUNNING,
    }
    return Workspace(**known | values)  # type: ignore[arg-type]


def container(status: str = "running", **values: object) -> Container:
    known: dict[str, object] = {
        "id": "c" * 64,
        "name": "test-0123456789ab",
        "status": status,
        "image_id": "sha256:1",
        "labels": {},
        "address": "10.9.0.16",
        "memory": 2 * 1024**3,
        "cpus": 2.0,
        "restarts": 0,
    }
    return Container(**known | values)  # type: ignore[arg-type]


def open_store(state_dir: Path, limits: Quotas = ROOMY) -> WorkspaceStore:
    return WorkspaceStore(state_dir, NETWORKS, limits)


def refused(error: pytest.ExceptionInfo[AtelierError], code: Code, field: str | None = None) -> str:
    """Asserts the code, the field, and that the message has a remedy; returns the message."""
    assert error.value.code is code
    assert error.value.details.get("field") == field
    assert str(error.value.details["remedy"]) in str(error.value)
    return str(error.value)


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar archive of /workspace as Docker writes it: two blocks of zeros at its end, without more padding."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"workspace/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()[: archive.offset] + bytes(1024)


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another Python process with the core on its path, its output piped."""
    core = Path(__file__).parents[2] / "module_utils"
    program = f"import sys; sys.path[:0] = [{str(core)!r}, {str(Path(__file__).parent)!r}]\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class OneEngine:
    """The engines of an installation on a single machine, as Context wants them."""

    def __init__(self, engine: object) -> None:
        self._engine = engine

    def of(self, node: str) -> Any:
        assert node == CONTROLLER
        return self._engine

    def route(self, node: str) -> SeatRoute:
        return DIRECT

    def machines(self) -> list[Machine] | None:
        return None

    def memory(self) -> dict[str, int]:
        return {}

    def node_labels(self, wanted: Sequence[str], otherwise: str = "") -> str:
        return checked_labels(wanted or otherwise.split(","), [])


def context(here: Site, store: WorkspaceStore, engine: object, **values: Any) -> Context:
    """An installation on one machine with that engine; what of the rest a test needs is in ``values``."""
    known = {"locks": Locks(here.state_dir), "progress": lambda *_: None, "ready_timeout": 1.0}
    engines: Any = OneEngine(engine)
    return Context(site=here, store=store, engines=engines, **{**known, **values})
