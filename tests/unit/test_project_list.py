"""The list of projects as the API answers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atelier.common.models import Workspace
from atelier.gateway import aliases
from atelier.gateway.aliases import Alias, drop_alias, put_alias
from support import open_store, order, row, site

from api.background.project_list import ProjectList
from api.services.presenter import Presenter


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


def test_an_alias_that_was_deleted_and_made_anew_is_shown_with_its_new_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(("2026-04-19T10:00:00.000Z", "2026-04-19T10:00:01.000Z"))
    monkeypatch.setattr(aliases, "now", lambda: next(times))
    watcher: Any = SimpleNamespace(available=False, is_outdated=lambda _: False, version=1)
    settings: Any = SimpleNamespace(site=site(tmp_path))
    with open_store(tmp_path) as store:
        (made,) = store.reserve([order("day")])
        presenter = Presenter(settings, watcher, SimpleNamespace(), store)  # type: ignore[arg-type]
        services: Any = SimpleNamespace(reads=store, watcher=watcher, presenter=presenter)
        projects = ProjectList()

        def shown() -> Any:
            return json.loads(projects.body(services))["projects"][0]["aliases"][0]["createdAt"]

        demo = Alias("demo", made.id, 3000, None, None)
        put_alias(store, demo, new=True)
        assert shown() == "2026-04-19T10:00:00.000Z"
        assert drop_alias(store, made.id, "demo")
        put_alias(store, demo, new=True)
        assert shown() == "2026-04-19T10:00:01.000Z"
