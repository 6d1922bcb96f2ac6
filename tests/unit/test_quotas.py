"""Quotas: whether there is room, and the messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.database.placement import check_quota
from atelier.database.workspace_store import WorkspaceStore
from support import NETWORKS, order, quotas


def test_the_message_counts_what_remains() -> None:
    with pytest.raises(AtelierError) as error:
        check_quota(quotas(per_user=5), "max_workspaces_per_user", 2, 10)
    assert error.value.code is Code.WORKSPACE_LIMIT_EXCEEDED
    assert error.value.message == "Cannot create 10 clones: only 3 workspace slots remaining (limit: 5)"
    assert error.value.details["limit"] == 5
    assert error.value.details["used"] == 2
    assert error.value.details["requested"] == 10
    assert error.value.details["field"] == "site.max_workspaces_per_user"
    assert "atelier_max_workspaces_per_user" in str(error.value.details["remedy"])


def test_the_ceiling_for_running_ones() -> None:
    check_quota(quotas(concurrent=3), "max_concurrent_workspaces", 2, 1)
    with pytest.raises(AtelierError) as error:
        check_quota(quotas(concurrent=3), "max_concurrent_workspaces", 3, 1)
    assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
    assert error.value.details["field"] == "site.max_concurrent_workspaces"


def test_more_than_the_limit_already_leaves_none_not_minus_two() -> None:
    with pytest.raises(AtelierError, match="only 0 workspace slots"):
        check_quota(quotas(per_user=3), "max_workspaces_per_user", 5, 1)


def test_starting_needs_no_new_row(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path, NETWORKS, quotas(per_user=1, concurrent=1)) as store:
        (made,) = store.reserve([order("one")])
        store.claim_running_slot(made.id)
        store.check_running_slot(made.id)
        with pytest.raises(AtelierError) as error:
            store.reserve([order("two")])
    assert error.value.code is Code.WORKSPACE_LIMIT_EXCEEDED
