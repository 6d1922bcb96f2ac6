"""Squid's log: the last requests of one client, with odd content and rotations of the files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from atelier.egress import squid_log
from atelier.egress.squid_log import LogEntry, parse, recent

SEAT, OTHER = "172.30.0.5", "172.30.0.55"


def line(number: float, address: str = SEAT, url: str = "example.org:443") -> str:
    return f"{1733234567 + number:.3f} 42 {address} TCP_TUNNEL/200 5688 CONNECT {url} - HIER_DIRECT/172.65.90.22 -\n"


def numbers(entries: list[LogEntry]) -> list[int]:
    return [round(float(entry.timestamp)) - 1733234567 for entry in entries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, content: str | bytes, name: str = "access.log") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (
            "1733234567.123 4233 172.30.0.5 TCP_TUNNEL/200 5688 CONNECT opencode.ai:443 - HIER_DIRECT/172.65.90.22 -",
            ("1733234567.123", "4233", SEAT, "TCP_TUNNEL/200", "5688", "CONNECT", "opencode.ai:443"),
        ),
        (
            "1733234888.186 0 172.30.0.5 TCP_DENIED/403 3369 GET http://blocked-site.com/ - HIER_NONE/- text/html",
            ("1733234888.186", "0", SEAT, "TCP_DENIED/403", "3369", "GET", "http://blocked-site.com/"),
        ),
        (  # Squid's own format pads the duration
            "1733234888.186      0 172.30.0.5 NONE_NONE/400 0 - error:invalid-request - HIER_NONE/- text/html",
            ("1733234888.186", "0", SEAT, "NONE_NONE/400", "0", "-", "error:invalid-request"),
        ),
    ],
)
def test_lines_as_the_contract_has_them(text: str, entry: tuple[str, ...]) -> None:
    assert parse(text.encode()) == LogEntry(*entry, raw_line=text)


@pytest.mark.parametrize("rubbish", [b"", b"x", b"\x00" * 50, b"1.1 2 3", line(1).encode()[:40], b"\xff\xfe" * 20])
def test_rubbish_is_no_line(rubbish: bytes) -> None:
    assert parse(rubbish) is None


def test_the_last_of_one_client_oldest_first(folder: Path) -> None:
    write(folder, "".join(line(n, SEAT if n % 2 else OTHER) for n in range(100)))
    assert numbers(recent(folder, SEAT, 3)) == [95, 97, 99]
    assert len(recent(folder, SEAT, 500)) == 50
    assert recent(folder, "172.30.0.6", 50) == []


def test_an_address_in_another_field_is_not_the_client(folder: Path) -> None:
    write(folder, line(1, OTHER, f"http://x/ {SEAT} ") + line(2, OTHER, SEAT) + line(3))
    assert numbers(recent(folder, SEAT, 50)) == [3]


def test_rotated_logs_are_read_on(folder: Path) -> None:
    for number, name in enumerate(["access.log.10", "access.log.2", "access.log.1", "access.log.0", "access.log"]):
        write(folder, line(2 * number) + line(2 * number + 1), name)
    write(folder, line(99), "access.log.bak")
    assert numbers(recent(folder, SEAT, 50)) == list(range(10))
    assert numbers(recent(folder, SEAT, 3)) == [7, 8, 9]


def test_nothing_from_before_the_workspace_was_made(folder: Path) -> None:
    write(folder, "".join(map(line, range(10))))
    assert numbers(recent(folder, SEAT, 50, since=1733234567 + 6.5)) == [7, 8, 9]


def test_missing_folder_and_missing_log(folder: Path) -> None:
    assert recent(folder / "none", SEAT, 50) == []
    assert recent(folder, SEAT, 50) == []
    write(folder, "")
    assert recent(folder, SEAT, 50) == []
    write(folder, line(1), "access.log.0")
    assert numbers(recent(folder, SEAT, 50)) == [1]


def test_a_line_being_written_is_left_out(folder: Path) -> None:
    write(folder, line(1) + line(2)[:-1])
    assert numbers(recent(folder, SEAT, 50)) == [1]
    write(folder, line(1)[:-1])
    assert recent(folder, SEAT, 50) == []


def test_rubbish_between_lines(folder: Path) -> None:
    junk = os.urandom(300_000).replace(b"\n", b"")
    path = write(
        folder, line(1).encode() + junk + b"\n" + line(2).encode() + f"\n {SEAT} \n".encode() + line(3).encode()
    )
    assert numbers(recent(folder, SEAT, 50)) == [1, 2, 3]
    with path.open("ab") as file:
        file.write(b"\x00" * (3 * 1024**2) + b"\n" + line(4).encode())
    assert numbers(recent(folder, SEAT, 50))[-1] == 4


@pytest.mark.parametrize("block", [1, 7, 64, 111, 112, 4096])
def test_block_borders_lose_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(squid_log, "_BLOCK", block)
    write(folder, "".join(line(n, SEAT if n % 3 else OTHER) for n in range(60)), "access.log.0")
    write(folder, "".join(line(n, SEAT if n % 3 else OTHER) for n in range(60, 90)))
    assert numbers(recent(folder, SEAT, 500)) == [n for n in range(90) if n % 3]


def test_a_rare_address_is_not_searched_for_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, line(0) + "".join(line(n, OTHER) for n in range(1, 2000)))
    assert numbers(recent(folder, SEAT, 50)) == [0]
    monkeypatch.setattr(squid_log, "_MOST_BYTES", 10_000)
    assert recent(folder, SEAT, 50) == []


def test_a_link_that_leads_elsewhere_is_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(line(1))
    (folder / "access.log").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic"):
        recent(folder, SEAT, 50)


def test_rotation_while_reading(folder: Path) -> None:
    """Every answer is without gap and without a line twice, although the files are renamed all the time."""
    stop = threading.Event()

    def rotate() -> None:
        number = 20
        while not stop.is_set():
            for age in range(3, 0, -1):
                older = folder / f"access.log.{age - 1}"
                if older.exists():
                    older.replace(folder / f"access.log.{age}")
            (folder / "access.log").replace(folder / "access.log.0")
            write(folder, "".join(map(line, range(number, number + 5))))
            number += 5
            time.sleep(0.005)

    for age, name in enumerate(["access.log", "access.log.0", "access.log.1", "access.log.2"]):
        write(folder, "".join(map(line, range(15 - 5 * age, 20 - 5 * age))), name)
    writer = threading.Thread(target=rotate)
    writer.start()
    try:
        for _ in range(300):
            found = numbers(recent(folder, SEAT, 8))
            assert found == list(range(found[0], found[0] + len(found)))
    finally:
        stop.set()
        writer.join()


def test_the_end_of_a_gibibyte(folder: Path) -> None:
    path = folder / "access.log"
    with path.open("wb") as file:
        file.seek(1024**3)  # what lies before is a hole, and takes no room
        file.write(b"\n")
        file.writelines(line(n, SEAT if n % 40 == 0 else OTHER).encode() for n in range(20_000))
    begin = time.process_time()
    assert len(recent(folder, SEAT, 50)) == 50
    # The end takes some milliseconds; all of it takes a second at least.
    assert time.process_time() - begin < 0.3
