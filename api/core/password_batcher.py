"""Sets new passwords in batches, one run of the playbook each."""

from __future__ import annotations

from collections.abc import Sequence

from .batcher import Batcher, Waiting, Wish, serve_together

# Small batches, so that a seat whose IDE does not answer delays few others, and the first are answered soon.
MOST_AT_ONCE = 10
# Maximum concurrent runs, so that one that waits for such a seat does not block others.
_RUNS = 2

_Batch = Sequence[Waiting[Wish, None]]


def password_batcher() -> Batcher[Wish, None]:
    """Changes that arrive while runs are under way share the next one with all others of the same caller."""
    return Batcher("passwords", serve_together, _next, _RUNS)


def _next(waiting: _Batch) -> _Batch:
    """The next waiting calls: of one caller, and for each workspace only the first."""
    batch: dict[str, Waiting[Wish, None]] = {}
    for one in waiting:
        if one.wish.caller == waiting[0].wish.caller and len(batch) < MOST_AT_ONCE:
            batch.setdefault(one.wish.workspace_id, one)
    return list(batch.values())
