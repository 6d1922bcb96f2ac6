"""Locks: they separate threads and processes, and are released by a killed holder."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from support import refused, start_python

ID = "0123456789ab"

HOLD = """
    import time
    from pathlib import Path
    from atelier.common.locks import Locks
    with Locks(Path(sys.argv[1])).workspace(sys.argv[2], 0):
        print("held", flush=True)
        time.sleep(600)
"""


def test_two_threads(tmp_path: Path) -> None:
    locks, inside, most = Locks(tmp_path), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with locks.workspace(ID, 30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    locks, process = Locks(tmp_path), start_python(HOLD, tmp_path, ID)
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        assert not locks.workspace_free(ID)
        with pytest.raises(AtelierError) as error, locks.workspace(ID, 0.1):
            pass
        assert "0.1 seconds" in refused(error, Code.WORKSPACE_BUSY, "workspace")
        with locks.workspace("ffffffffffff", 0):
            pass  # another workspace is nobody's business
    finally:
        process.kill()
    with locks.workspace(ID, 10):
        pass
    assert locks.workspace_free(ID)


def test_a_waiting_one_gets_it_when_it_comes_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks, order, is_refused, sleep = Locks(tmp_path), [], threading.Event(), time.sleep

    def pause(seconds: float) -> None:
        is_refused.set()
        sleep(seconds)

    def wait() -> None:
        with locks.workspace(ID, 30):
            order.append("second")

    with locks.workspace(ID, 0):
        monkeypatch.setattr(time, "sleep", pause)
        thread = threading.Thread(target=wait)
        thread.start()
        assert is_refused.wait(30)  # it has tried, and waits before it tries again
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_kinds_of_locks_do_not_meet(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with (
        locks.workspace("ffffffffffff", 0),
        locks.batch("ffffffffffff") as first,
        locks.gateway(0),
        locks.batch("000000000000") as second,
    ):
        assert first and second


def test_a_batch_is_not_waited_for(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.batch(ID) as held:
        assert held
        with locks.batch(ID) as again:
            assert not again
    with locks.batch(ID) as held:
        assert held


def test_looking_whether_it_is_free_takes_it_from_nobody(tmp_path: Path) -> None:
    """Somebody who asks must not be in the way of somebody who tries at that very moment, without waiting."""
    locks, stop, failures = Locks(tmp_path), threading.Event(), 0

    def look() -> None:
        while not stop.is_set():
            locks.workspace_free(ID)
            locks.batch_free(ID)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        with locks.batch(ID) as held:
            failures += not held
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == 0


def test_looking_makes_no_file(tmp_path: Path) -> None:
    assert Locks(tmp_path / "missing").batch_free(ID)
    assert Locks(tmp_path).workspace_free(ID)
    assert list(tmp_path.iterdir()) == []


def test_the_route_map_says_whose_fault_it_is(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.gateway(), pytest.raises(AtelierError) as error, locks.gateway(0.05):
        pass
    assert error.value.code is Code.GATEWAY_ERROR


def test_a_seat_sheet_is_held_by_its_file_however_it_is_written(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.sheet(tmp_path / "seats.csv", 0):
        with pytest.raises(AtelierError) as error, locks.sheet(tmp_path / "x" / ".." / "seats.csv", 0.05):
            pass
        refused(error, Code.WORKSPACE_BUSY, "seats_csv")
        with locks.sheet(tmp_path / "others.csv", 0):
            pass
