"""Work on several workspaces at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from ..common.errors import AtelierError, faults_of
from ..common.messages import Message
from ..containers.context import Context
from ..engine.docker_errors import is_engine_away

T = TypeVar("T")
R = TypeVar("R")
# A starting IDE keeps a core busy for most of a second: more at once only wait for each other.
IDES_PER_CORE = 3


def each_alone(
    context: Context,
    items: Sequence[T],
    work: Callable[[T], R],
    failed: Callable[[T, AtelierError], R],
    step: Callable[[R], Message],
    *,
    per_core: int = IDES_PER_CORE,
    name_of: Callable[[T], str] = str,
) -> list[R]:
    """Returns the results of ``work`` in the order of the items. One that fails fails alone: its result is that of
    ``failed``. ``step`` is the progress after a result; ``name_of`` an item is in the message on an unforeseen error.
    Raises SERVICE_UNAVAILABLE where the engine went away: run it again then."""

    def attempt(item: T) -> R:
        try:
            with faults_of(name_of(item)):
                return work(item)
        except AtelierError as error:
            if is_engine_away(error):
                raise
            return failed(item, error)

    if not items:
        return []
    with ThreadPoolExecutor(min(per_core * context.cpus(), len(items))) as pool:
        futures = [pool.submit(attempt, item) for item in items]
        for done, future in enumerate(as_completed(futures), 1):
            if future.exception() is None:
                context.progress(step(future.result()), done, len(items))
    return [future.result() for future in futures]
