"""Fixtures of the unit tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from atelier.backup.restic import Source
from atelier_recorder.settings import Limits, Settings
from atelier_recorder.writer.process import Writer
from backup_parts import Docker, private
from git_app import REPOSITORIES, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


@pytest.fixture
def app(server: Server) -> Server:
    """With a repository."""
    assert server("POST", REPOSITORIES, {"name": "app"}).status_code == 201
    return server


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A repository for backups."""
    return Source(str(tmp_path / "repository"), private(tmp_path / "password", "secret\n"))


@pytest.fixture
def docker() -> Docker:
    return Docker()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """The recorder's writer, which knows one workspace by its address."""
    folder, table = tmp_path / "recordings", tmp_path / "workspaces.json"
    folder.mkdir()
    table.write_text(json.dumps({"10.0.0.2": {"id": "0123456789ab", "group": None}}))
    return Writer(Settings("127.0.0.1", 1, "10.0.0.0/8", (), (), (), table, folder, table, table, Limits()))
