"""A row that the database lost, rebuilt from its container."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.models import GIB, Limits, ProxyMode, Status, Workspace
from atelier.containers.container import labels_of
from atelier.workspaces.import_container import row_from_container
from support import container, open_store, order, row, site

CONFIG = b'auth: password\nhashed-password: "$argon2id$v=19"\ncookie-suffix: 0a1b\ncert: false\n'
FULL = {
    "template": "nodejs-react",
    "proxy_mode": ProxyMode.SECURITY,
    "created_at": "2026-01-02T00:00:00.000Z",
    "owner": "somebody",
    "group": "spring",
    "cloned_from": "00000000000a",
    "git_url": "https://example.org/a.git",
    "repository": "base",
    "node_labels": "disk=ssd",
    "limits": Limits("4g", "4"),
}


@pytest.fixture
def rebuilt(tmp_path: Path) -> Any:
    """Rebuilds the row of a container with these labels; its IDE's settings are ``config``."""

    def rebuild(
        labels: dict[str, str], config: bytes | None = None, taken: str = "other", **values: object
    ) -> Workspace:
        engine = SimpleNamespace(cpus=lambda: 8, read=lambda *_: config and SimpleNamespace(data=config))
        with open_store(tmp_path) as store:
            store.reserve([order(taken)])
            here: Any = SimpleNamespace(site=site(tmp_path), store=store, engine=engine, node="alpha")
            found = container(labels=labels, address="10.9.0.99", **values)
            return row_from_container(here, "0123456789ab", found)

    return rebuild


@pytest.mark.parametrize("values", [FULL, {}], ids=["full", "defaults"])
def test_a_row_is_rebuilt_from_its_labels(rebuilt: Any, tmp_path: Path, values: dict[str, object]) -> None:
    before = row(name="base", **values)
    here: Any = SimpleNamespace(site=site(tmp_path))
    labels = labels_of(here, before)
    assert "" not in labels.values()
    again = rebuilt(labels, CONFIG, memory=before.limits.memory_bytes, cpus=float(before.limits.cpus))
    assert again == before._replace(
        address="10.9.0.99",
        node="alpha",
        last_activity=again.last_activity,
        password_hash="$argon2id$v=19",
        sessions="0a1b",
        status=Status.RUNNING,
    )


def test_what_is_unknown_becomes_a_default(rebuilt: Any) -> None:
    labels = {"atelier.proxy_mode": "odd", "atelier.name": "base"}
    again = rebuilt(labels, taken="base", status="exited", memory=3 * GIB, cpus=3.0)
    assert (again.name, again.template, again.proxy_mode) == ("base 0123456789ab", "empty", ProxyMode.NONE)
    assert (again.limits, again.status, again.password_hash, again.sessions) == (Limits(), Status.STOPPED, None, "")
    assert rebuilt({}, memory=3 * GIB, cpus=3.0).name == "0123456789ab"
