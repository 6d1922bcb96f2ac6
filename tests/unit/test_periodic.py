"""Background loops: a failure is logged once, and does not end the loop."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message

from api.core.periodic import run_periodically

log = logging.getLogger("test")
FULL = AtelierError(Code.REGISTRY_ERROR, as_message("The disk is full."))


def looked(faults: list[Exception | None], docker: SimpleNamespace | None = None) -> int:
    """Runs the loop until each of the faults had its look; returns how many looks there were."""
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks > len(faults):
            raise asyncio.CancelledError
        if fault := faults[looks - 1]:
            raise fault

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_periodically(log, "looking", 0.0, look, docker))
    return looks - 1


def test_a_failure_is_logged_once_until_a_look_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    faults: list[Exception | None] = [FULL, FULL, FULL, None, None, FULL, ValueError("a bug"), ValueError("a bug")]
    assert looked(faults) == len(faults)
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        (f"looking: {FULL}", False),
        ("looking: works again", False),
        (f"looking: {FULL}", False),
        ("looking: unexpected error", True),
    ]


def test_nothing_is_done_while_docker_is_away() -> None:
    class Docker(SimpleNamespace):
        asked = 0

        @property
        def available(self) -> bool:
            self.asked += 1
            return self.asked > 3

    docker = Docker()
    assert looked([None, None], docker) == 2
    assert docker.asked == 6
