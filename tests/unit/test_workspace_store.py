"""The database: uniqueness, quotas, atomicity, and concurrent or killed processes."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import GIT_IMPORT, Status
from atelier.common.validation import check_title
from atelier.database.workspace_store import WorkspaceStore, new_id
from support import open_store, order, quotas, refused, row, start_python


@pytest.fixture
def store(tmp_path: Path) -> WorkspaceStore:
    return open_store(tmp_path)


def test_an_empty_folder_becomes_a_database_that_only_its_owner_reads(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    with open_store(state) as store:
        assert store.all() == []
    assert (state.stat().st_mode & 0o777, (state / "registry.sqlite3").stat().st_mode & 0o777) == (0o700, 0o600)


def test_check_mode_makes_nothing(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "state", {}, quotas(), create=False) as store:
        assert store.all() == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.reserve([order("base")])
    with sqlite3.connect(tmp_path / "registry.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(AtelierError) as error:
        open_store(tmp_path)
    assert "schema is 99" in refused(error, Code.REGISTRY_ERROR, "site.state_dir")
    with sqlite3.connect(tmp_path / "registry.sqlite3") as db:
        assert db.execute("SELECT count(*) FROM workspaces").fetchone() == (1,)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"not a database " * 100)
    with pytest.raises(AtelierError) as error:
        open_store(tmp_path)
    refused(error, Code.REGISTRY_ERROR, "site.state_dir")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtelierError) as error:
        open_store(tmp_path / "file" / "state")
    refused(error, Code.REGISTRY_ERROR, "site.state_dir")


def test_a_row_comes_back_as_it_was_reserved(store: WorkspaceStore) -> None:
    made = store.reserve([order("base", group="g", notes="n", password_hash="h", git_url="u")])[0]
    assert store.get(id=made.id) == store.get(name="base") == made
    assert (made.status, made.address, made.group, made.notes) == (Status.CREATING, "10.9.0.16", "g", "n")


def test_reserving_is_all_or_nothing(store: WorkspaceStore) -> None:
    store.reserve([order("two")])
    with pytest.raises(AtelierError) as error:
        store.reserve([order("one"), order("two"), order("three")])
    assert "'two'" in refused(error, Code.PROJECT_EXISTS, "name")
    assert [workspace.name for workspace in store.all()] == ["two"]
    # Nor did the failed attempt use up addresses.
    assert store.reserve([order("four")])[0].address == "10.9.0.17"


def test_a_quota_is_all_or_nothing_with_the_message_of_the_contract(tmp_path: Path) -> None:
    with open_store(tmp_path, quotas(per_user=5)) as store:
        store.reserve([order("a"), order("b")])
        source = store.get(name="a")
        with pytest.raises(AtelierError) as error:
            store.reserve_clones(source, new_id(), [None] * 10, "default")
        assert error.value.message == "Cannot create 10 clones: only 3 workspace slots remaining (limit: 5)"
        assert len(store.all()) == 2
        assert store.open_batches() == []
        assert len(store.reserve_clones(source, new_id(), [None] * 3, "default")) == 3


def test_quotas_of_users_are_their_own_the_ceiling_for_running_ones_is_shared(tmp_path: Path) -> None:
    with open_store(tmp_path, quotas(per_user=2, concurrent=3)) as store:
        store.reserve([order("a", owner="x"), order("b", owner="x"), order("c", owner="y")])
        with pytest.raises(AtelierError) as error:
            store.reserve([order("d", owner="y")])
        assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
        store.update(store.get(name="a").id, status=Status.STOPPED)
        store.reserve([order("d", owner="y")])


def test_trying_keeps_nothing(store: WorkspaceStore) -> None:
    store.reserve([order("a")])
    tried = store.reserve([order("b")], dry_run=True)
    clones = store.reserve_clones(store.get(name="a"), new_id(), [None, None], "default", dry_run=True)
    assert [workspace.name for workspace in (*tried, *clones)] == ["b", "a 1", "a 2"]
    assert [workspace.name for workspace in store.all()] == ["a"]
    assert store.open_batches() == []


def test_clones_skip_names_in_use_and_inherit(store: WorkspaceStore) -> None:
    store.reserve([order("base", group="g"), order("base 2")])
    clones = store.reserve_clones(store.get(name="base"), "0" * 12, ["h", None], "default")
    assert [(clone.name, clone.group, clone.password_hash, clone.batch) for clone in clones] == [
        ("base 1", "g", "h", "0" * 12),
        ("base 3", "g", None, "0" * 12),
    ]


def test_names_of_clones_keep_the_limit_of_names(store: WorkspaceStore) -> None:
    long = "n" * 100
    store.reserve([order(long), order("n" * 97 + " 10")])
    clones = store.reserve_clones(store.get(name=long), "0" * 12, [None] * 11, "default")
    names = [clone.name for clone in clones]
    assert names[:2] == ["n" * 98 + " 1", "n" * 98 + " 2"] and names[8:] == [
        "n" * 98 + " 9",
        "n" * 97 + " 11",
        "n" * 97 + " 12",
    ]
    assert all(check_title(name, "name") == name for name in names)


def test_a_closed_batch_is_forgotten_its_rows_stay(store: WorkspaceStore) -> None:
    store.reserve([order("base")])
    source = store.get(name="base")
    store.reserve_clones(source, "0" * 12, [None], "default")
    assert [batch.count for batch in store.open_batches(source.id)] == [1]
    store.close_batch("0" * 12)
    assert store.open_batches() == []
    assert store.get(name="base 1").batch is None


def test_renaming_to_a_name_in_use_is_refused(store: WorkspaceStore) -> None:
    first, second = store.reserve([order("first"), order("second")])
    with pytest.raises(AtelierError) as error:
        store.update(second.id, name="first")
    refused(error, Code.PROJECT_EXISTS, "name")
    assert store.get(id=first.id).name == "first"


def test_an_address_is_not_given_again_at_once(store: WorkspaceStore) -> None:
    first = store.reserve([order("a")])[0]
    store.delete(first.id)
    assert store.reserve([order("b")])[0].address != first.address


def test_adopting_a_row_that_is_there_is_refused(store: WorkspaceStore) -> None:
    store.import_row(row())
    with pytest.raises(AtelierError):
        store.import_row(row())


def test_an_error_of_the_database_is_one_of_ours(store: WorkspaceStore) -> None:
    store._db.execute("PRAGMA max_page_count = 12")  # as a full disk would
    with pytest.raises(AtelierError) as error:
        for number in range(100):
            store.reserve([order(f"name-{number}", notes="n" * 10_000)])
    refused(error, Code.REGISTRY_ERROR, "site.state_dir")
    # The connection is not left inside a broken transaction.
    store._db.execute("PRAGMA max_page_count = 100000")
    store.reserve([order("afterwards")])


def test_threads_never_share_a_name_or_an_address_nor_exceed_the_quota(tmp_path: Path) -> None:
    with open_store(tmp_path, quotas(per_user=41)) as store:
        store.reserve([order("base")])
        source = store.get(name="base")

        def reserve(_: int) -> int:
            try:
                return len(store.reserve_clones(source, new_id(), [None] * 4, "default"))
            except AtelierError as error:
                assert error.code is Code.WORKSPACE_LIMIT_EXCEEDED
                return 0

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(reserve, range(20))) == 40
        rows = store.all()
        assert len(rows) == len({r.name for r in rows}) == len({r.address for r in rows}) == 41


RESERVE_FIVES = """
    from pathlib import Path
    from support import open_store, order, quotas
    from atelier.common.errors import AtelierError
    from atelier.database.workspace_store import new_id
    made = 0
    with open_store(Path(sys.argv[1]), quotas(per_user=121)) as store:
        while not store.find(name="base"):
            try:
                store.reserve([order("base")])
            except AtelierError as error:
                # A process that was held up since it looked finds the others done.
                if error.code not in ("PROJECT_EXISTS", "WORKSPACE_LIMIT_EXCEEDED"):
                    raise
        source = store.get(name="base")
        for _ in range(6):
            try:
                made += len(store.reserve_clones(source, new_id(), [None] * 5, "default"))
            except AtelierError as error:
                if error.code != "WORKSPACE_LIMIT_EXCEEDED":
                    raise
    print(made)
"""


def test_processes_that_open_a_new_database_at_once_share_it_safely(tmp_path: Path) -> None:
    processes = [start_python(RESERVE_FIVES, tmp_path) for _ in range(6)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, outputs
    assert sum(int(output) for output, _ in outputs) == 120  # 180 were asked for
    with open_store(tmp_path) as store:
        rows = store.all()
    assert len(rows) == len({r.name for r in rows}) == len({r.address for r in rows}) == 121


RESERVE_FOREVER = """
    from pathlib import Path
    from support import open_store, order
    from atelier.database.workspace_store import new_id
    with open_store(Path(sys.argv[1])) as store:
        source = store.find(name="base") or store.reserve([order("base")])[0]
        print("ready", flush=True)
        while True:
            batch = new_id()
            for clone in store.reserve_clones(source, batch, [None] * 7, "default"):
                store.update(clone.id, status="running")
            for clone in [row for row in store.all() if row.batch == batch]:
                store.delete(clone.id)
            store.close_batch(batch)
"""


def test_a_process_that_is_killed_leaves_whole_batches_only(tmp_path: Path) -> None:
    dice = random.Random(2)  # noqa: S311 - moments, not secrets
    for _ in range(6):
        process = start_python(RESERVE_FOREVER, tmp_path)
        assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0.01, 0.3))
        process.kill()
        process.wait()
        with open_store(tmp_path) as store:
            rows = store.all()
            batches = store.open_batches()
            assert len(rows) == len({r.address for r in rows}) <= 8
            assert {r.batch for r in rows if r.batch} <= {batch.id for batch in batches}
            # Rows are made seven at once; only deleting takes them away one by one, after all were marked running.
            fresh = [r for r in rows if r.batch]
            assert len(fresh) in (0, 7) or all(r.status is Status.RUNNING for r in fresh)
            for r in fresh:
                store.delete(r.id)
            for batch in batches:
                store.close_batch(batch.id)


def test_all_rows_are_read_by_one_statement(store: WorkspaceStore) -> None:
    """However many there are; how long it takes is bench's business."""
    for number in range(300):  # with explicit addresses: the network has fewer
        store.import_row(row(id=f"{number:012x}", name=f"seat {number}", address=f"10.{number >> 8}.{number & 255}.1"))
    statements: list[str] = []
    with store.reading() as db:
        db.set_trace_callback(statements.append)
    assert len(store.all()) == 300
    assert len(statements) == 1, statements


def test_an_unfinished_row_is_taken_over_by_one_only(store: WorkspaceStore) -> None:
    (read,) = store.reserve([order("seat", batch="0" * 12)])
    assert store.take_over(read, "1" * 12)
    assert not store.take_over(read, "2" * 12)
    assert store.get(name="seat").batch == "1" * 12
    store.update(read.id, status=Status.RUNNING)
    assert not store.take_over(store.get(name="seat"), "2" * 12)


def test_an_interrupted_batch_can_be_filled_up(store: WorkspaceStore) -> None:
    store.reserve([order("base")])
    source = store.get(name="base")
    store.reserve_clones(source, "0" * 12, [None] * 3, "default")
    store.delete(store.get(name="base 2").id)
    store.reserve_clones(source, "0" * 12, [None], "default")
    assert [batch.count for batch in store.open_batches()] == [3]
    assert sorted(row.name for row in store.all()) == ["base", "base 1", "base 2", "base 3"]


def test_starting_is_only_tried_in_check_mode(tmp_path: Path) -> None:
    with open_store(tmp_path, quotas(concurrent=1)) as store:
        made = store.reserve([order("a")])[0]
        store.update(made.id, status=Status.STOPPED)
        store.claim_running_slot(made.id, dry_run=True)
        assert store.get(name="a").status is Status.STOPPED
        store.reserve([order("b")])
        with pytest.raises(AtelierError) as error:
            store.claim_running_slot(made.id, dry_run=True)
        assert error.value.code is Code.CONCURRENT_LIMIT_REACHED
        with pytest.raises(AtelierError):
            store.update(made.id, True, name="b")
        store.update(made.id, True, name="c")
        assert store.find(name="c") is None


def test_what_a_clone_has_of_its_sources_git(store: WorkspaceStore) -> None:
    store.reserve([order("base", git_url="https://x.org/a")])
    source = store.get(name="base")
    assert (source.git_pending, source.repository) == (GIT_IMPORT, None)
    store.update(source.id, repository="base", branch="main", git_pending=None)
    (clone,) = store.reserve_clones(store.get(name="base"), None, [None], "default")
    # Its files are there already, its branch is not.
    assert (clone.git_url, clone.git_pending) == ("https://x.org/a", None)
    assert (clone.repository, clone.branch, clone.has_repository) == ("base", None, True)


def test_access_to_the_git_server_is_remembered_until_it_is_ended(store: WorkspaceStore) -> None:
    base, other = store.reserve([order("base"), order("other")])
    store.update(base.id, repository="base", branch="main")
    for workspace in (base, other):
        store.delete(workspace.id)
        store.delete(workspace.id)
    assert store.unrevoked() == {base.id: "base"}
    store.revoked(base.id)
    assert store.unrevoked() == {}


def test_a_store_is_closed_after_the_read_that_is_under_way(store: WorkspaceStore) -> None:
    """Closing frees SQLite's memory: a thread that reads then would crash the process."""
    reads = threading.Event()

    def read() -> int:
        with store.reading() as db:
            reads.set()
            time.sleep(0.2)
            return len(db.execute("SELECT 1").fetchall())

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read)
        assert reads.wait(10)
        store.__exit__(None, None, None)
        assert found.result(10) == 1


def test_a_workspace_that_is_missing_is_named_by_the_parameter_it_was_asked_by(store: WorkspaceStore) -> None:
    asked: list[tuple[dict[str, str], str]] = [
        ({"id": "0" * 12}, "id"),
        ({"name": "Nobody"}, "name"),
        ({"id": "0" * 12, "field": "ids"}, "ids"),
    ]
    for parameters, field in asked:
        with pytest.raises(AtelierError) as error:
            store.get(**parameters)
        assert error.value.details["field"] == field
