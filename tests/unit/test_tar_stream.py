"""Parsing a tar archive as a stream: the counts, and when it is given up."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.models import MIB, ArchiveLimits
from atelier.workshop.tar_stream import TarError, TarWalk, within


def _entry(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.PAX_FORMAT)


def _walk(data: bytes, size: int) -> TarWalk:
    walk = TarWalk()
    for place in range(0, len(data), size):
        walk.feed(data[place : place + size])
    walk.finish()
    return walk


@pytest.mark.parametrize("size", [1, 500, 512, 4096, 10**6])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_entries_are_counted_in_pieces_of_any_size(form: int, size: int) -> None:
    buffer, draw = io.BytesIO(), random.Random(1)  # noqa: S311 - it is to repeat
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for number in range(60):
            long = "/".join(["d" * 40] * 3) if form != tarfile.USTAR_FORMAT and number % 7 == 0 else "d"
            info = tarfile.TarInfo(f"workspace/{long}/{number}")
            content = draw.randbytes(draw.choice([0, 1, 511, 512, 513, 3000]))
            info.size = len(content)
            if number % 5 == 0:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, "workspace/d/1", 0
            archive.addfile(info, io.BytesIO(content[: info.size]))
        data = buffer.getvalue()[: archive.offset] + bytes(1024)
    assert _walk(data, size).entries == 60


def test_a_size_that_fits_no_header_is_read_from_the_description() -> None:
    """Docker writes sizes of more than 8 GiB like that: the header itself has 0."""
    walk = TarWalk()
    walk.feed(_entry("workspace/large", 9 * 1024**3))
    assert walk.entries == 1
    with pytest.raises(TarError):
        walk.finish()
    for _ in range(9 * 1024):
        walk.feed(bytes(MIB))
    walk.feed(_entry("workspace/next") + bytes(1024))
    walk.finish()
    assert walk.entries == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(512),
        bytes(1024) + _entry("a"),
        bytes(512) + _entry("a") + bytes(1024),
        _entry("a") + bytes(1536),
        _entry("a", 1000) + bytes(1024),
        b"x" * 512 + bytes(1024),
        _entry("a")[:-300] + b"x" + _entry("a")[-299:] + bytes(1024),
        _entry("p", 600, tarfile.XHDTYPE) + b"nonsense".ljust(1024) + _entry("a") + bytes(1024),
        _entry("p", 2 * MIB, tarfile.XHDTYPE) + bytes(2 * MIB) + _entry("a") + bytes(1024),
    ],
)
def test_what_is_not_a_whole_archive(data: bytes) -> None:
    with pytest.raises(TarError):
        _walk(data, 512)


def _endless(*firsts: bytes, then: bytes) -> Iterator[bytes]:
    yield from firsts
    while True:
        yield then


@pytest.mark.parametrize(
    ("limits", "chunks", "said"),
    [
        (
            ArchiveLimits(entries=5000),
            _endless(then=_entry("e") * 100),
            "5000 files and folders (atelier_archive_max_ent",
        ),
        (ArchiveLimits(entries=50), _endless(then=_entry("e", 0, tarfile.LNKTYPE)), "50 files and folders"),
        (ArchiveLimits(content_bytes=8 * MIB), _endless(_entry("e", 15 * 1024**4), then=bytes(MIB)), "8 MiB"),
        (ArchiveLimits(seconds=0.2), _endless(_entry("e", 15 * 1024**4), then=bytes(512)), "0.2 seconds"),
    ],
)
def test_what_never_ends_is_given_up_with_the_seats_name_and_the_limit(
    limits: ArchiveLimits, chunks: Iterator[bytes], said: str
) -> None:
    with pytest.raises(AtelierError) as error:
        for _ in within(chunks, limits, "Course 2"):
            pass
    assert error.value.code is Code.ARCHIVE_FAILED
    assert error.value.message.startswith("'Course 2' was not archived: ") and said in error.value.message
    assert "atelier_archive_max_" in error.value.message


def test_memory_does_not_grow_with_the_entries() -> None:
    def used(count: int) -> int:
        chunk: Any = _entry("workspace/e") * 1000
        tracemalloc.start()
        for _ in within((chunk for _ in range(count)), ArchiveLimits(), "a"):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert used(30) < 2 * used(3)
