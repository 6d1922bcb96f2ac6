"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from atelier.backup.restic import Source
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
