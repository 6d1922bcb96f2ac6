"""Placement of new workspaces, and the permission to choose it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import CONTROLLER, GIB, StopReason
from atelier.database.intent import back_to_sleep, stopped_on_purpose, wake
from atelier.database.placement import Machine, as_many_as_fit, checked_labels, place_on, with_labels
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
        assert store.seats() == {CONTROLLER: 1, "alpha": 1, "beta": 1}
        assert [row.name for row in store.all("alpha")] == ["two"]
        with pytest.raises(AtelierError):
            store.reserve([order("four")], [Machine("alpha", 3 * GIB)])
        with pytest.raises(AtelierError) as error:
            store.reserve([order("four")], [])
        refused(error, Code.NO_ROOM, "site.nodes")  # none is active: the controller is no exception
        assert store.find(name="four") is None
        (source,) = [row for row in store.all() if row.name == "one"]
        clones = store.reserve_clones(source, None, [None, None], "default", machines=[Machine("gamma", 4 * GIB)])
        assert [row.node for row in clones] == ["gamma", "gamma"]


def test_a_start_needs_memory_that_is_not_promised(tmp_path: Path) -> None:
    memory = {"alpha": 4 * GIB}
    with open_store(tmp_path) as store:
        rows = store.reserve([order("one"), order("two"), order("three")], [Machine("alpha", 8 * GIB)])
        one, two, three = (row.id for row in rows)
        for id in (one, two, three):
            store.claim_running_slot(id, memory=memory)  # what was promised before is kept, as after a reboot
        stopped_on_purpose(store, three)
        with pytest.raises(AtelierError) as error:
            store.claim_running_slot(three, memory=memory)
        told = refused(error, Code.NO_ROOM, "site.nodes")
        for named in ("'three' needs 2.0 GiB", "alpha has 0.0 GiB"):
            assert named in told
        with pytest.raises(AtelierError):
            store.claim_running_slot(three, memory=memory, dry_run=True)
        assert store.promised() == {"alpha": 4 * GIB}
        store.claim_running_slot(three, memory={"beta": 0})  # nobody knows alpha's
        stopped_on_purpose(store, three, StopReason.IDLE)
        stopped_on_purpose(store, two)
        store.claim_running_slot(three, memory=memory)
        assert store.promised() == {"alpha": 4 * GIB}


def test_a_visit_is_no_way_around_the_promises(tmp_path: Path) -> None:
    memory = {"alpha": 2 * GIB}
    with open_store(tmp_path) as store:
        one, two = (row.id for row in store.reserve([order("one"), order("two")], [Machine("alpha", 8 * GIB)]))
        stopped_on_purpose(store, two, StopReason.IDLE)
        assert wake(store, [two], ["idle"]) == [two]
        with pytest.raises(AtelierError) as error:
            store.claim_running_slot(two, memory=memory)
        refused(error, Code.NO_ROOM, "site.nodes")
        back_to_sleep(store, [two])
        stopped_on_purpose(store, one)
        wake(store, [two], ["idle"])
        store.claim_running_slot(two, memory=memory)


def test_two_that_start_at_once_do_not_get_the_same_memory(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        ids = [row.id for row in store.reserve([order("one"), order("two")], [Machine("alpha", 8 * GIB)])]
        for id in ids:
            stopped_on_purpose(store, id)

        def start(id: str) -> bool:
            try:
                store.claim_running_slot(id, memory={"alpha": 3 * GIB})
            except AtelierError as error:
                assert error.code is Code.NO_ROOM
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(start, ids)) == [False, True]


GPU, BOTH = frozenset({"gpu=true"}), frozenset({"gpu=true", "disk=ssd"})


def test_labels_leave_the_machines_that_have_all_of_them() -> None:
    machines = [Machine("alpha", 8 * GIB), Machine("beta", 8 * GIB, GPU), Machine("gamma", 8 * GIB, BOTH)]
    assert with_labels(machines, "") == machines
    assert [machine.name for machine in with_labels(machines, "gpu=true")] == ["beta", "gamma"]
    assert [machine.name for machine in with_labels(machines, "disk=ssd,gpu=true")] == ["gamma"]


def test_a_label_that_no_machine_has_is_refused_with_those_there_are() -> None:
    known = [frozenset[str](), GPU, BOTH]
    assert checked_labels([], known) == ""
    assert checked_labels(["gpu=true"], known) == "gpu=true"
    assert checked_labels(["gpu=true , disk=ssd", "gpu=true"], known) == "disk=ssd,gpu=true"
    for wanted in (["gpu=false"], ["gpu"], ["gpu=true", "disk=hdd"]):
        with pytest.raises(AtelierError) as error:
            checked_labels(wanted, known)
        told = refused(error, Code.VALIDATION_ERROR, "nodes")
        assert "disk=ssd, gpu=true" in told
        assert error.value.details["value"] in told
    with pytest.raises(AtelierError):
        checked_labels(["gpu=true"], [])


def test_clones_are_made_where_their_sources_labels_are(tmp_path: Path) -> None:
    machines = [Machine("alpha", 64 * GIB), Machine("beta", 4 * GIB, GPU)]
    with open_store(tmp_path) as store:
        (source,) = store.reserve([order("one", node_labels="gpu=true")], machines)
        assert (source.node, source.node_labels) == ("beta", "gpu=true")
        (clone,) = store.reserve_clones(source, None, [None], "default", machines=machines)
        assert (clone.node, clone.node_labels) == ("beta", "gpu=true")
        with pytest.raises(AtelierError) as error:
            store.reserve_clones(source, None, [None], "default", machines=machines)
        assert "beta 0.0 GiB" in refused(error, Code.NO_ROOM, "site.nodes")
        anywhere = store.reserve_clones(source._replace(node_labels=""), None, [None], "default", machines=machines)
        assert [row.node for row in anywhere] == ["alpha"]


def test_as_many_as_fit_are_placed_as_a_batch_is() -> None:
    assert as_many_as_fit(TWO, 2 * GIB, {"alpha": 5 * GIB}, 100) == ["beta", "beta", "beta", "alpha", "beta"]
    assert as_many_as_fit(TWO, 2 * GIB, {}, 3) == ["alpha", "beta", "alpha"]
    assert as_many_as_fit([], 2 * GIB, {}, 3) == []
