"""Where new workspaces are put, and who may say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import CONTROLLER, GIB
from atelier.database.placement import Machine, place_on
from support import open_store, order, refused

TWO = [Machine("alpha", 8 * GIB), Machine("beta", 8 * GIB)]


def test_a_batch_spreads() -> None:
    assert place_on(TWO, [2 * GIB] * 6, {}) == ["alpha", "beta"] * 3


def test_the_machine_with_most_memory_left_is_taken() -> None:
    assert place_on(TWO, [2 * GIB] * 3, {"alpha": 5 * GIB}) == ["beta", "beta", "beta"]
    assert place_on([*TWO, Machine("gamma", 64 * GIB)], [2 * GIB], {}) == ["gamma"]


def test_all_or_none_and_the_refusal_says_what_is_free() -> None:
    with pytest.raises(AtelierError) as error:
        place_on(TWO, [4 * GIB] * 4, {"alpha": 2 * GIB})
    told = refused(error, Code.NO_ROOM, "site.nodes")
    assert "3 of 4" in told
    assert "alpha 2.0 GiB" in told
    assert "beta 0.0 GiB" in told
    with pytest.raises(AtelierError):
        place_on([], [GIB], {})


def test_rows_are_on_the_controller_unless_machines_are_offered(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.reserve([order("one")])[0].node == CONTROLLER
        placed = store.reserve([order("two"), order("three")], [Machine("alpha", 3 * GIB), Machine("beta", 3 * GIB)])
        assert [row.node for row in placed] == ["alpha", "beta"]
        assert store.promised() == {CONTROLLER: 2 * GIB, "alpha": 2 * GIB, "beta": 2 * GIB}
        with pytest.raises(AtelierError):
            store.reserve([order("four")], [Machine("alpha", 3 * GIB)])
        assert store.find(name="four") is None
        (source,) = [row for row in store.all() if row.name == "one"]
        clones = store.reserve_clones(source, None, [None, None], "default", machines=[Machine("gamma", 4 * GIB)])
        assert [row.node for row in clones] == ["gamma", "gamma"]
