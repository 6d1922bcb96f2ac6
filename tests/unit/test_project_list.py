"""The list of projects as the API answers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from atelier.common.models import Workspace
from support import row

from api.background.project_list import ProjectList


class World:
    """The list's sources. ``made``: ids of the projects that were made; ``beside``: what else they show."""

    def __init__(self, *rows: Workspace) -> None:
        self.rows = list(rows)
        self.made: list[str] = []
        self.beside: dict[str, str] = {}
        self._version = 0
        self._list = ProjectList()

    def ids(self, *node: str) -> list[str]:
        self._version += 1
        services: Any = SimpleNamespace(
            reads=SimpleNamespace(all=self._read, version=lambda: (self._version, 1)),
            watcher=SimpleNamespace(version=1),
            presenter=SimpleNamespace(
                sources=lambda rows: [(self.beside.get(one.id),) for one in rows], projects=self._projects
            ),
        )
        found = json.loads(self._list.body(services, *node))
        assert found == {"success": True, "projects": found["projects"], "count": len(found["projects"])}
        return [project["id"] for project in found["projects"]]

    def _read(self, node: str | None = None) -> list[Workspace]:
        return [one for one in self.rows if node in (None, one.node)]

    def _projects(self, rows: Sequence[Workspace]) -> list[dict[str, str]]:
        self.made += [one.id for one in rows]
        return [{"id": one.id} for one in rows]


def test_the_projects_of_one_machine() -> None:
    world = World(row(id="a"), row(id="b", node="alpha"), row(id="c", node="alpha"))
    assert world.ids() == ["a", "b", "c"]
    assert world.ids("alpha") == ["b", "c"]
    assert world.ids("beta") == []
    assert world.ids() == ["a", "b", "c"]
    assert world.made == ["a", "b", "c"]


def test_only_what_changed_is_made_again() -> None:
    world = World(row(id="a"), row(id="b"), row(id="c"))
    world.ids()
    world.made.clear()
    world.rows[1] = row(id="b", notes="new")
    assert world.ids() == ["a", "b", "c"]
    world.beside["c"] = "The disk is nearly full."
    assert world.ids() == ["a", "b", "c"]
    assert world.made == ["b", "c"]
    # One that is gone and comes back is another.
    del world.rows[0]
    assert world.ids() == ["b", "c"]
    world.rows.append(row(id="a"))
    assert world.ids() == ["b", "c", "a"]
    assert world.made == ["b", "c", "a"]
