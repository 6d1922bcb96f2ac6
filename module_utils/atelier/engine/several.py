"""The same question to several machines at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..common.errors import AtelierError

_AT_ONCE = 16
T = TypeVar("T")


def ask_all(nodes: Sequence[str], ask: Callable[[str], T]) -> tuple[dict[str, T], dict[str, AtelierError]]:
    """The answers by machine, in the order of ``nodes``, and why the others gave none. Lasts as long as the slowest of
    them."""

    def attempt(node: str) -> T | AtelierError:
        try:
            return ask(node)
        except AtelierError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # One is asked in the caller's thread.
        answers = threads.map(attempt, nodes) if len(nodes) > 1 else map(attempt, nodes)
        found = dict(zip(nodes, answers, strict=True))
    failures = {node: each for node, each in found.items() if isinstance(each, AtelierError)}
    return {node: each for node, each in found.items() if not isinstance(each, AtelierError)}, failures
