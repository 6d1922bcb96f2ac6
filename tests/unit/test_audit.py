"""The audit log under attack: strangers' refusals are bounded, changes stay, a full disk loses no line."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from api.auth import audit as audit_module
from api.auth.audit import Audit
from api.auth.middleware import Caller

STRANGER = Caller("203.0.113.9", "203.0.113.9")
OPERATOR = Caller("127.0.0.1", "loopback", operator=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(folder: Path, name: str) -> int:
    path = folder / "audit" / name
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_a_stranger_rolls_nothing_away(tmp_path: Path) -> None:
    clock = Clock()
    log = Audit(tmp_path, clock)
    log.write("loopback", "delete", "0123456789ab", "successful", "job")
    for number in range(10_000):
        log.refuse(STRANGER, "sign-in", "UNAUTHORIZED" if number < 10 else "TOO_MANY_ATTEMPTS", role="operator")
    assert lines(tmp_path, "audit.log") == 1
    assert lines(tmp_path, "refusals.log") == 1  # the first one; the others are counted
    clock.now += 61
    log.tick()
    told = [(entry["what"], entry["outcome"], entry.get("count"), entry.get("role")) for entry in log.newest(1000)]
    assert sorted(told, key=str) == [
        ("delete", "successful", None, None),
        ("sign-in", "refused: TOO_MANY_ATTEMPTS", 9990, "operator"),
        ("sign-in", "refused: UNAUTHORIZED", 9, "operator"),
        ("sign-in", "refused: UNAUTHORIZED", None, "operator"),
    ]
    # Each caller with rights to make changes gets a line.
    for _ in range(3):
        log.refuse(OPERATOR, "claim", "WORKSHOP_FULL")
    assert lines(tmp_path, "audit.log") == 4


def test_a_participant_rolls_nothing_away(tmp_path: Path) -> None:
    log = Audit(tmp_path)
    log.write("loopback", "delete", "0123456789ab", "successful", "job")
    for _ in range(20):
        log.note("203.0.113.9", "share-port", "0123456789ab", "successful", port=3000)
    assert (lines(tmp_path, "audit.log"), lines(tmp_path, "refusals.log")) == (1, 20)
    newest = log.newest(20)[0]
    assert (newest["what"], newest["port"]) == ("share-port", 3000)


def test_many_addresses_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "_REFUSAL_FILE_BYTES", 100_000)
    clock = Clock()
    log = Audit(tmp_path, clock)
    log.write("loopback", "delete", "0123456789ab", "successful")
    for minute in range(3):
        for number in range(5000):
            address = f"10.{number >> 8}.{number & 255}.1"
            log.refuse(Caller(address, address), "claim", "WRONG_ACCESS_CODE")
        assert lines(tmp_path, "refusals.log") <= 2 * 1001
        clock.now += 61
        assert [entry["what"] for entry in log.newest(4)].count("delete") == 1, minute
    assert sum(path.stat().st_size for path in (tmp_path / "audit").glob("refusals.log*")) <= 200_000
    (others,) = [entry for entry in log.newest(1000) if entry["who"] == "others" and entry.get("count")][:1]
    assert others["count"] == 4499  # the first of them has a line


def test_refusals_leave_room_for_changes_in_an_answer(tmp_path: Path) -> None:
    log = Audit(tmp_path)
    for number in range(50):
        log.write("loopback", "notes", str(number), "successful")
        log.refuse(Caller(f"10.0.0.{number}", "x"), "claim", "WORKSHOP_FULL")
    entries = log.newest(20)
    assert len(entries) == 20
    assert [entry["what"] for entry in entries].count("notes") == 15
    assert [entry["sequence"] for entry in entries] == sorted((e["sequence"] for e in entries), reverse=True)
    assert stat.S_IMODE((tmp_path / "audit" / "refusals.log").stat().st_mode) == 0o600


def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Audit(tmp_path)
    log.write("loopback", "notes", "0", "successful")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return real(descriptor, data[:10])  # the last bytes that there were
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        calls = iter(range(10**6))
        patch.setattr(os, "write", lambda fd, data: full(fd, data) if next(calls) % 2 == 0 else full(fd, b""))
        for number in range(1, 4):
            log.write("loopback", "notes", str(number), "successful")
        assert [entry["workspace"] for entry in log.newest(10)] == ["3", "2", "1", "0"]
        assert lines(tmp_path, "audit.log") == 1
    log.tick()
    again: list[dict[str, Any]] = Audit(tmp_path).newest(10)
    assert [entry["workspace"] for entry in again] == ["3", "2", "1", "0"]


def test_a_clock_that_goes_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(["2026-02-02T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"])
    monkeypatch.setattr(audit_module, "now", lambda: next(times))
    log = Audit(tmp_path)
    log.write("loopback", "first", None, "successful")
    log.refuse(STRANGER, "second", "UNAUTHORIZED")
    log.close()
    log = Audit(tmp_path)  # also over a restart
    log.write("loopback", "third", None, "successful")
    assert [entry["what"] for entry in log.newest(10)] == ["third", "second", "first"]


def test_a_line_about_a_workspace_names_its_machine(tmp_path: Path) -> None:
    log = Audit(tmp_path, place={"0123456789ab": "alpha"}.get)
    log.write("loopback", "stop", "0123456789ab", "successful")
    log.write("loopback", "delete", "ba9876543210", "successful", node="beta")
    log.write("loopback", "whitelist", None, "successful")
    entries: list[dict[str, Any]] = Audit(tmp_path).newest(3)
    assert [entry.get("node") for entry in entries] == [None, "beta", "alpha"]
