"""The same question to several machines at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..common.errors import AtelierError

_AT_ONCE = 16
T = TypeVar("T")


def ask_all(nodes: Sequence[str], ask: Callable[[str], T]) -> tuple[dict[str, T], dict[str, AtelierError]]:
    """The answers by machine, and why the others gave none. Lasts as long as the slowest of them."""
    answers: dict[str, T] = {}
    failures: dict[str, AtelierError] = {}

    def note(node: str) -> None:
        try:
            answers[node] = ask(node)
        except AtelierError as error:
            failures[node] = error

    if nodes:
        with ThreadPoolExecutor(min(len(nodes), _AT_ONCE)) as threads:
            list(threads.map(note, nodes))
    return answers, failures
