"""The Dockerfiles of the services: they begin with the same steps, so that BuildKit runs each of those once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROLES = Path(__file__).parents[2] / "roles"
PYTHON = ["api/files", "git_service/files", "recorder/files", "squid/files/image"]


def stage(folder: str, name: str) -> str:
    found = re.search(
        rf"^FROM \S+ AS {name}\n.*?(?=^\n|^FROM )", (ROLES / folder / "Dockerfile").read_text(), re.M | re.S
    )
    assert found, f"{folder} has no stage {name}"
    return found[0]


@pytest.mark.parametrize(("name", "folders"), [("python", PYTHON), ("venv", PYTHON[:3])])
def test_services_share_their_first_layers(name: str, folders: list[str]) -> None:
    stages = {stage(folder, name) for folder in folders}
    assert len(stages) == 1
    # A build argument, a file or a secret would make it a separate layer.
    assert not re.search(r"^(ARG|COPY|ADD)|type=secret", stages.pop(), re.M)
