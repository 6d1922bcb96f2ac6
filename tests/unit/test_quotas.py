"""Quotas: whether there is room, and the messages."""

from __future__ import annotations

from contextlib import nullcontext as does_not_raise

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.database.quotas import check_room
from support import quotas


def test_the_message_counts_what_remains() -> None:
    with pytest.raises(AtelierError) as error:
        check_room(quotas(per_user=5), (2, 2), wanted=10, new_rows=True)
    assert error.value.code is Code.WORKSPACE_LIMIT_EXCEEDED
    assert error.value.message == "Cannot create 10 clones: only 3 workspace slots remaining (limit: 5)"
    assert error.value.details["limit"] == 5
    assert error.value.details["used"] == 2
    assert error.value.details["requested"] == 10
    assert error.value.details["field"] == "site.max_workspaces_per_user"
    assert "atelier_max_workspaces_per_user" in str(error.value.details["remedy"])


def test_the_ceiling_for_running_ones() -> None:
    check_room(quotas(concurrent=3), (0, 2), wanted=1, new_rows=True)
    with pytest.raises(AtelierError) as error:
        check_room(quotas(concurrent=3), (0, 3), wanted=1, new_rows=False)
    assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
    assert error.value.details["field"] == "site.max_concurrent_workspaces"


def test_more_than_the_limit_already_leaves_none_not_minus_two() -> None:
    with pytest.raises(AtelierError, match="only 0 workspace slots"):
        check_room(quotas(per_user=3), (5, 0), wanted=1, new_rows=True)


def test_starting_needs_no_new_row() -> None:
    with does_not_raise():
        check_room(quotas(per_user=1, concurrent=5), (1, 1), wanted=1, new_rows=False)
    with pytest.raises(AtelierError):
        check_room(quotas(per_user=1, concurrent=5), (1, 1), wanted=1, new_rows=True)
