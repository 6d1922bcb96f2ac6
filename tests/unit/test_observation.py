"""The observations that the API makes by the clock."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.background import observation


@pytest.mark.parametrize("nodes", [(), ("alpha", "beta")])
def test_machines_that_are_down_are_asked_for_where_there_are_several(
    nodes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []

    async def look_once(_: object, __: str, ___: float, look: Any, docker: object = None) -> None:
        await look()

    class Images:
        def __init__(self, *_: object) -> None:
            """Nothing."""

        def current(self) -> dict[str, str]:
            return {"empty": "1"}

    monkeypatch.setattr(observation, "run_periodically", look_once)
    monkeypatch.setattr(observation, "TemplateImages", Images)
    services: Any = SimpleNamespace(
        settings=SimpleNamespace(site=SimpleNamespace(nodes=nodes)),
        engines=SimpleNamespace(of=lambda _: None, down=lambda: {"beta"}),
        watcher=SimpleNamespace(note_down=noted.append, note_images=noted.append),
        health=SimpleNamespace(look=lambda: noted.append("health")),
        locks=None,
    )
    asyncio.run(observation.run(services))
    assert "health" in noted
    assert {"empty": "1"} in noted
    assert ({"beta"} in noted) is bool(nodes)
