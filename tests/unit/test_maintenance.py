"""Jobs that the API begins by itself when they are due."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.background import maintenance
from api.services import jobs


def test_a_job_is_asked_for_while_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    due, asked = [False, True, True, False], []

    def is_due(state_dir: str, _: object) -> bool:
        assert state_dir == "/state"
        if not due:
            raise asyncio.CancelledError
        return due.pop(0)

    def create(*order: Any) -> str:
        asked.append(order)
        return f"job {len(asked)}"

    async def submit(_: object, caller: Any, job: str, **__: object) -> None:
        asked.append((caller.name, job))

    monkeypatch.setattr(maintenance, "_CERTIFICATE_SECONDS", 0)
    monkeypatch.setattr(maintenance.acme, "is_due", is_due)
    monkeypatch.setattr(jobs, "submit", submit)
    services: Any = SimpleNamespace(
        settings=SimpleNamespace(site=SimpleNamespace(state_dir="/state")),
        jobs=SimpleNamespace(create=create),
        watcher=SimpleNamespace(available=True),
    )
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(maintenance.renew_certificate(services))
    order = ("certificate", [], {}, "certificate")
    assert asked == [order, ("certificate", "job 1"), order, ("certificate", "job 3")]
