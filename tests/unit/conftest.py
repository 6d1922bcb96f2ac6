"""What several files of unit tests start with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
