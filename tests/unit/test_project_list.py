"""The list of projects as the API answers it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from atelier.common.models import Workspace
from support import row

from api.background.project_list import ProjectList


def test_the_projects_of_one_machine() -> None:
    rows = [row(id="a"), row(id="b", node="alpha"), row(id="c", node="alpha")]

    def read(node: str | None = None) -> list[Workspace]:
        return [one for one in rows if node in (None, one.node)]

    services: Any = SimpleNamespace(
        reads=SimpleNamespace(all=read, version=lambda: (1, 1)),
        watcher=SimpleNamespace(version=1),
        presenter=SimpleNamespace(projects=lambda some: [{"id": one.id} for one in some]),
    )
    projects = ProjectList()

    def ids(*node: str) -> tuple[list[str], int]:
        found = json.loads(projects.body(services, *node))
        return [project["id"] for project in found["projects"]], found["count"]

    assert ids() == (["a", "b", "c"], 3)
    assert ids("alpha") == (["b", "c"], 2)
    assert ids("beta") == ([], 0)
    assert ids() == (["a", "b", "c"], 3)
