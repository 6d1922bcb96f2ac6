"""Work in portions of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(items: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """The items in order, as many together as fit into ``most``; one that is larger is alone."""
    portion: list[T] = []
    used = 0
    for item in items:
        size = size_of(item)
        if portion and used + size > most:
            yield portion
            portion, used = [], 0
        portion.append(item)
        used += size
    if portion:
        yield portion
