"""A cache of page fragments by state."""

from __future__ import annotations

from collections.abc import Callable

_REMEMBERED = 100


class FragmentCache:
    """Caches fragments of the newest state, by what else they depend on."""

    def __init__(self) -> None:
        self._state: object = None
        self._made: dict[object, str] = {}

    def get(self, state: object, key: object, make: Callable[[], str]) -> str:
        if state != self._state:
            self._state, self._made = state, {}
        if key not in self._made:
            made = make()
            if len(self._made) >= _REMEMBERED:
                return made  # somebody asks for groups that nobody has
            self._made[key] = made
        return self._made[key]
