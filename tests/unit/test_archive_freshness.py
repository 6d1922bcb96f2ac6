"""Work that came after its archive: found in seats that run, and in those that do not."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.workshop.archive_freshness import (
    _Fingerprints,
    diff_archives,
    find_command,
    is_ignored_path,
    rest_of,
)
from support import container

from tests.waiting import eventually

SINCE = "2026-11-24T09:30:00.000Z"


def tar_of(**files: bytes | str | None) -> io.BytesIO:
    """Bytes are a file, a text is a link that leads there, None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"workspace/{name}")
            if isinstance(content, bytes):
                entry.size = len(content)
            elif content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    buffer.seek(0)
    return buffer


def test_what_an_archive_has_not() -> None:
    def found(**files: bytes | str | None) -> str | None:
        return diff_archives(tar_of(a=b"1", link="a", folder=None, gone=b"x"), tar_of(**files), 4)

    assert found() is None
    assert found(a=b"1", link="a") is None
    assert found(a=b"1", more=None) is None
    assert found(a=b"2", b=b"1") == "a"
    assert found(b=b"1") == "b"
    assert found(a=b"1", link="b") == "link"
    assert found(link=b"a") == "link"
    assert found(**{".git/index": b"1", "x/.git/index.lock": b"", "__pycache__/a.pyc": b""}) is None


def test_what_can_not_be_compared_is_said() -> None:
    whole = tar_of(a=b"1" * 3000).getvalue()
    for archive, seat in ((b"no tar" * 200, whole), (whole, whole[:1500]), (b"", whole)):
        with pytest.raises(AtelierError) as error:
            diff_archives(io.BytesIO(archive), io.BytesIO(seat), 1)
        assert error.value.code is Code.ARCHIVE_FAILED


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (".git/index", True),
        (".git/refs/heads/main.lock", True),
        ("part/.git/FETCH_HEAD", True),
        ("web/node_modules/.vite/deps/a.js", True),
        ("a/__pycache__/b.pyc", True),
        (".git/refs/heads/main", False),
        (".git/objects/12/34", False),
        ("git/index", False),
        ("yarn.lock", False),
        ("node_modules/a/index.js", False),
        ("src/a\nb", False),
    ],
)
def test_what_is_written_by_itself(path: str, own: bool, tmp_path: Path) -> None:
    assert is_ignored_path(path) is own
    # find has the same opinion.
    file = tmp_path / "workspace" / path
    file.parent.mkdir(parents=True)
    file.touch()
    assert (_find(tmp_path, SINCE.replace("2026", "2000")) == "") is own


@pytest.mark.parametrize("piece", ["a/", "/.git/", "/node_modules/.cach", "/.git/x.loc"])
def test_long_paths_take_no_time(piece: str) -> None:
    """A seat may have a million files, with paths of its user's choice."""
    path = (piece * 4096)[:4096]
    begin = time.process_time()
    assert not any(is_ignored_path(path) for _ in range(20_000))
    assert time.process_time() - begin < 1.5


def test_find_goes_by_the_kernels_time_of_change(tmp_path: Path) -> None:
    """Nobody can set that time back, unlike the time of modification of an unpacked file."""
    file = tmp_path / "workspace" / "old.txt"
    file.parent.mkdir()
    file.touch()
    os.utime(file, (0, 0))
    assert _find(tmp_path, "2000-01-01T00:00:00.000Z") == f"{file}\n"
    assert _find(tmp_path, "2999-01-01T00:00:00.000Z") == ""


def test_a_folder_that_was_moved_here_is_found(tmp_path: Path) -> None:
    """Its files have not changed, and their times say nothing; only the folder's own does."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").touch()
    (tmp_path / "workspace").mkdir()
    since = _now_between_changes(tmp_path)
    (tmp_path / "workspace/temporary").touch()
    (tmp_path / "workspace/temporary").unlink()
    assert _find(tmp_path, since) == ""
    folder.rename(tmp_path / "workspace/moved")
    assert _find(tmp_path, since) == f"{tmp_path}/workspace/moved\n"


def _now_between_changes(folder: Path) -> str:
    """A time that is later than all changes so far, and earlier than all that follow, by the kernel's coarser clock."""
    probe = folder / "probe"

    def changed() -> datetime:
        probe.touch()
        return datetime.fromtimestamp(probe.stat().st_ctime, UTC)

    def later() -> datetime | None:
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as it is written below
        return now if now > last else None

    last = changed()
    since: datetime = eventually(later, "the next millisecond")
    eventually(lambda: changed() > since, "the kernel's clock goes on")
    return since.isoformat(timespec="milliseconds")


def _find(folder: Path, since: str) -> str:
    command = [str(folder / "workspace") if word == "/workspace" else word for word in find_command(since)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_when_a_container_has_ended() -> None:
    ended = "2026-11-24T09:29:59.123456789Z"
    for status, finished_at, rest in (
        ("exited", ended, ended),
        ("created", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("restarting", ended, None),
        ("paused", ended, None),
        ("running", ended, None),
        ("exited", "", None),
    ):
        assert rest_of(container(status, finished_at=finished_at)) == rest, status


def test_a_changed_mode_is_a_difference() -> None:
    before, after = tar_of(a=b"1"), tar_of(a=b"1")
    with tarfile.open(fileobj=(changed := io.BytesIO()), mode="w") as archive:
        entry = tarfile.TarInfo("workspace/a")
        entry.size, entry.mode = 1, 0o755
        archive.addfile(entry, io.BytesIO(b"1"))
    changed.seek(0)
    assert diff_archives(before, after, 1) is None
    before.seek(0)
    assert diff_archives(before, changed, 1) == "a"


def test_a_seat_can_not_choose_where_its_files_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose fingerprints get neighbouring places would take hours: each looks past all before it."""
    places: list[bytes] = []
    monkeypatch.setattr(_Fingerprints, "add", lambda self, fingerprint: places.append(fingerprint))
    for _ in range(2):
        diff_archives(tar_of(a=b"1"), tar_of(), 1)
    first, second = places
    assert first != second


def test_no_path_takes_long_to_look_at() -> None:
    """A seat may have a million files below folders that are called so."""
    paths = ["/.git/" * 682, "/.git/x" * 580 + ".loc", "/node_modules/.cache" * 204]
    begin = time.process_time()
    for _ in range(100):
        for path in paths:
            is_ignored_path(path)
    assert time.process_time() - begin < 0.5


def test_many_files_are_compared_in_little_memory() -> None:
    count = 4000
    archive = tar_of(**{f"f{number}": b"" for number in range(count)}).getvalue()
    seat = tar_of(**{f"f{number}": b"" for number in range(count + 1)}).getvalue()
    tracemalloc.start()
    assert diff_archives(io.BytesIO(archive), io.BytesIO(archive), count) is None
    # 32 bytes each, and what the reading takes; tarfile by itself keeps more than 400 each.
    assert tracemalloc.get_traced_memory()[1] < 1024**2
    tracemalloc.stop()
    assert diff_archives(io.BytesIO(archive), io.BytesIO(seat), count) == f"f{count}"
    with pytest.raises(AtelierError):
        diff_archives(io.BytesIO(seat), io.BytesIO(seat), count // 4)
