"""Archives: whole, or no file at all; and the manifest that says which ones there are."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.workshop.archives import ArchiveFile, remove_unfinished, write_archive
from atelier.workshop.manifest import NAME, Entry, fault_of, read_manifest, write_manifest
from support import refused, tar_of


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


TAR = tar_of({"a": b"a" * 3000, "zeros": bytes(5000), "b": b""})


def _write(folder: Path, data: bytes, size: int = 1000) -> ArchiveFile:
    return write_archive(folder, _pieces(data, size), lambda digest: f"{digest[:8]}.tar.zst")


@pytest.mark.parametrize("size", [1, 512, 1024, 100_000])
def test_what_comes_in_pieces_is_one_archive(tmp_path: Path, size: int) -> None:
    made = _write(tmp_path, TAR, size)
    data = (tmp_path / made.file).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [made.file] == [f"{made.sha256[:8]}.tar.zst"]
    assert (made.bytes, made.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (made.content_bytes, made.entries) == (len(TAR), 3)
    assert (tmp_path / made.file).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TAR[:-1024],
        TAR[:-512],
        TAR[:2000],  # within a file
        TAR[:6000] + bytes(1024),  # within zeros, and what follows looks like an end
        TAR[:-1024] + b'{"message": "Docker gave up"}',
        TAR[:3584] + b"x" * 512 + TAR[4096:],  # an entry that is none
        bytes(512) + TAR,
    ],
)
def test_what_is_not_whole_leaves_no_file(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AtelierError) as error:
        _write(tmp_path, data)
    refused(error, Code.ARCHIVE_FAILED)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    def pieces() -> object:
        yield TAR[:2000]
        raise AtelierError(Code.SERVICE_UNAVAILABLE, as_message("gone"))

    with pytest.raises(AtelierError) as error:
        write_archive(tmp_path, pieces(), lambda digest: digest)  # type: ignore[arg-type]
    assert error.value.code is Code.SERVICE_UNAVAILABLE
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(AtelierError) as error:
        _write(tmp_path / "missing", TAR)
    assert str(tmp_path / "missing") in refused(error, Code.DISK_FULL, "folder")


def test_what_killed_runs_left_goes(tmp_path: Path) -> None:
    made = _write(tmp_path, TAR)
    for name in (".x.part", ".manifest.json.abc"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / made.file]


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == {}
    entries = [Entry("b" * 12, "Course 2", "stopped", note="why"), Entry("a" * 12, "Course 1", "running", pushed=True)]
    write_manifest(tmp_path, "atelier", "now", entries)
    assert read_manifest(tmp_path) == {entry.id: entry for entry in entries}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    document = json.loads((tmp_path / NAME).read_text())
    assert [seat["name"] for seat in document["seats"]] == ["Course 1", "Course 2"]
    # One of a later version, which says more.
    document["seats"][0]["mood"] = "good"
    (tmp_path / NAME).write_text(json.dumps(document))
    assert read_manifest(tmp_path) == {entry.id: entry for entry in entries}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2, "seats": []}', '{"format": 1, "seats": [{}]}', "\udcff"]
)
def test_a_file_that_is_no_manifest_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(AtelierError) as error:
        read_manifest(tmp_path)
    refused(error, Code.VALIDATION_ERROR, "folder")


def test_what_keeps_a_seat_from_being_collected(tmp_path: Path) -> None:
    made = _write(tmp_path, TAR)
    entry = Entry("a" * 12, "Course 1", "running", **vars(made))
    assert fault_of(tmp_path, entry) is None
    gone = Entry("a" * 12, "Course 1", "error", note="There was nothing left.")
    assert "has no archive because its container was gone" in str(fault_of(tmp_path, gone))
    assert fault_of(tmp_path, None) == "was never collected"
    assert "disk" in str(fault_of(tmp_path, Entry("a" * 12, "Course 1", "running", error="the disk is full")))
    data = (tmp_path / made.file).read_bytes()
    for spoilt in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        (tmp_path / made.file).write_bytes(spoilt)
        assert "was changed" in str(fault_of(tmp_path, entry))
    (tmp_path / made.file).unlink()
    assert "no readable archive" in str(fault_of(tmp_path, entry))


def test_the_apis_image_has_all_that_modules_import() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) - {"ansible"} <= set(project["optional-dependencies"]["api"])
