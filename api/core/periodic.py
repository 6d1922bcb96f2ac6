"""The API's background loops: run one pass, log a lasting failure once, sleep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from atelier.common.errors import AtelierError


class Docker(Protocol):
    """The watcher's view of Docker. ``outages`` is incremented when Docker becomes unreachable."""

    @property
    def available(self) -> bool: ...
    @property
    def outages(self) -> int: ...


async def run_periodically(
    log: logging.Logger, task: str, seconds: float, look: Callable[[], Awaitable[None]], docker: Docker | None = None
) -> None:
    """Calls ``look`` every ``seconds`` until it is cancelled; with ``docker``, only while that is available.

    A failed look never ends the loop. The same failure is logged once, until a look succeeds again: a full disk lasts
    for hours, and the log may be on it. Only an unexpected error is logged with its traceback.
    """
    failure = ""
    while True:
        if docker is None or docker.available:
            try:
                await look()
            except Exception as error:  # the boundary: a failed look must not be the last one
                if repr(error) != failure:
                    failure = repr(error)
                    if isinstance(error, AtelierError):
                        log.error("%s: %s", task, error)
                    else:
                        log.exception("%s: unexpected error", task)
            else:
                if failure:
                    log.warning("%s: works again", task)
                failure = ""
        await asyncio.sleep(seconds)
