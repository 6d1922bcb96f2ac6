"""Unused snapshots, distinguished from those in use and from one that is being made."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import as_message
from atelier.common.models import MIB
from atelier.containers import held_secrets, snapshots
from atelier.containers.context import Context
from atelier.containers.distribution import pull
from atelier.containers.held_secrets import Secret, find_secrets
from atelier.containers.snapshots import _put, _put_back, leftover_snapshots, recover
from atelier.engine.models import Container, File, Image, TarExtract
from support import container, context, open_store, refused, row, site

SOURCE, RUN = "0123456789ab", "00000000000a"
LABELS = {"atelier.instance": "test", "atelier.snapshot": SOURCE}


class Engine:
    """Has these images, and containers of those that are named."""

    def __init__(self, *images: Image, used: tuple[str, ...] = ()) -> None:
        self._images, self._used = images, used

    def images(self, label: str) -> list[Image]:
        return [image for image in self._images if label in image.labels]

    def image(self, id: str) -> Image | None:
        return next((image for image in self._images if image.id == id), None)

    def images_in_use(self, label: str) -> set[str]:
        assert label == "atelier.instance=test"
        return set(self._used)


def image(id: str, *tags: str, **labels: str) -> Image:
    return Image(id, tags, (), {**LABELS, **{key.replace("_", "."): value for key, value in labels.items()}})


def leftovers(folder: Path, engine: Engine) -> list[str]:
    found = SimpleNamespace(site=site(folder), engine=engine, locks=Locks(folder), node="alpha")
    return [image.id for image in leftover_snapshots(cast(Context, found))]


def test_what_a_dead_run_tagged_and_what_nobody_stands_on(tmp_path: Path) -> None:
    tag = f"test/snapshot:{SOURCE}-01234567-{RUN}"
    others = [image("other", atelier_instance="another"), image("odd", atelier_snapshot="by hand")]
    engine = Engine(
        image("tagged", tag), image("bare"), image("used"), image("kept", "test/x:1"), *others, used=("used",)
    )
    assert leftovers(tmp_path, engine) == ["tagged", "bare"]
    with Locks(tmp_path).batch(RUN):
        assert leftovers(tmp_path, engine) == ["bare"]


def test_one_that_is_being_made_is_none(tmp_path: Path) -> None:
    """Docker's own commit has no tag for a moment; when that is over it is gone."""
    engine = Engine(image("commit"))
    with Locks(tmp_path).workspace(SOURCE, 0):
        assert leftovers(tmp_path, engine) == []
    assert leftovers(tmp_path, engine) == ["commit"]

    class Later(Engine):
        now: Image | None = None

        def image(self, id: str) -> Image | None:
            return self.now

    later = Later(image("commit"))
    assert leftovers(tmp_path, later) == []
    later.now = image("commit", f"test/snapshot:{SOURCE}-01234567-{RUN}")
    assert leftovers(tmp_path, later) == []


def test_one_that_is_being_pulled_is_none(tmp_path: Path) -> None:
    """Docker makes it, writes that to the disk, and then names it."""
    engine, locks = Engine(image("pulled")), Locks(tmp_path)
    with locks.image_pull("alpha"), locks.image_pull("alpha"):
        assert leftovers(tmp_path, engine) == []
    with locks.image_pull("beta"):
        assert leftovers(tmp_path, engine) == ["pulled"]


def test_a_pull_is_seen_by_those_who_look_for_leftovers(tmp_path: Path) -> None:
    locks, seen = Locks(tmp_path), list[bool]()
    docker = SimpleNamespace(pull=lambda _: seen.append(locks.image_pulls_free("alpha")))
    pull(cast(Any, SimpleNamespace(engine=docker, locks=locks, node="alpha")), "10.0.0.10:5000/test/snapshot:one")
    assert seen == [False]
    assert locks.image_pulls_free("alpha")


def test_a_file_that_has_no_place_any_more_goes_home() -> None:
    """Its folder is a file now, say. What comes after is done all the same."""
    there: list[str] = []

    class Docker:
        def put(self, container: str, folder: str, files: list[File]) -> None:
            if any("gone" in str(file.path) for file in files):
                raise AtelierError(Code.ENGINE_ERROR, as_message("not a directory"))
            there.extend(str(file.path) for file in files)

    def secret(path: str) -> File:
        return File(PurePosixPath(path), b"", 1000, 1000, 0o600)

    _put(cast("Any", Docker()), "seat", [secret("/home/coder/.ssh/key"), secret("/home/coder/gone/token")])
    assert there == ["/home/coder/.ssh/key", "/home/coder/token.before-snapshot"]


def tree(name: str, size: int) -> bytes:
    """An archive with one file of that size."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = size
        archive.addfile(entry, io.BytesIO(bytes(size)))
    return file.getvalue()


def test_no_more_is_read_than_all_places_together_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has less than one may have; their sum would be gigabytes."""
    monkeypatch.setattr(held_secrets, "_MOST_BYTES", 20 * MIB)
    data = tree("secret", MIB)
    asked: list[str] = []

    class Docker:
        def read(self, container: str, path: str, *_: object) -> TarExtract:
            asked.append(path)
            return TarExtract(PurePosixPath(path), data)

    with pytest.raises(AtelierError) as error:
        find_secrets(cast("Any", Docker()), "seat", "Stranger")
    assert "'Stranger'" in refused(error, Code.SNAPSHOT_FAILED, "source")
    assert len(asked) <= 20 + held_secrets._READERS


class Linked:
    """A seat's files as archives; each path in ``links`` is an archive of links to these names."""

    def __init__(self, links: dict[str, list[str]], files: dict[str, bytes]) -> None:
        self._links, self._files = links, files

    def read(self, container: str, path: str, *_: object) -> TarExtract | None:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            if path in self._files:
                entry = tarfile.TarInfo(PurePosixPath(path).name)
                entry.size = len(self._files[path])
                archive.addfile(entry, io.BytesIO(self._files[path]))
            elif path in self._links:
                for name in self._links[path]:
                    link = tarfile.TarInfo(f"{PurePosixPath(path).name}/{name}")
                    link.type = tarfile.SYMTYPE
                    archive.addfile(link)
            else:
                return None
        return TarExtract(PurePosixPath(path), file.getvalue())


def test_what_links_in_a_known_place_lead_to_is_a_secret_once() -> None:
    links = {
        "/home/coder/.ssh": ["key", "again", "nowhere"],
        # Docker followed it, and it leads back.
        "/home/coder/.ssh/again": ["key"],
    }
    files = {"/home/coder/.ssh/key": b"secret", "/home/coder/.netrc": b"", "/home/coder/.ssh/again/key": b"another"}
    found = find_secrets(cast("Any", Linked(links, files)), "seat", "Seat")
    assert {secret.path: (secret.content, secret.replacement) for secret in found} == {
        "/home/coder/.ssh/key": (b"secret", b""),
        "/home/coder/.ssh/again/key": (b"another", b""),
    }


@pytest.mark.parametrize("names", [[str(number) for number in range(65)], ["deeper"]], ids=["many", "without end"])
def test_links_without_end_are_no_snapshot(names: list[str]) -> None:
    links = {f"/home/coder/.ssh{'/deeper' * depth}": names for depth in range(70)}
    with pytest.raises(AtelierError) as error:
        find_secrets(cast("Any", Linked(links, {})), "seat", "Seat")
    assert "more than 64 links" in refused(error, Code.SNAPSHOT_FAILED, "source")


class Seat:
    """The container of a seat that ran after a crash: its user moved ``.ssh`` away, and ``links`` are in its place."""

    def __init__(self, links: dict[str, str], status: str = "running") -> None:
        self.links, self.status = links, status
        self.written: list[tuple[str, str]] = []

    def inspect(self, name: str) -> Container:
        return container(self.status, name=name)

    def read(self, _: str, path: str, limit: int, follow: Callable[[PurePosixPath], bool]) -> None:
        if path in self.links:
            follow(PurePosixPath(self.links[path]))

    def put(self, _: str, folder: str, files: list[File]) -> None:
        self.written += [(self.status, str(file.path)) for file in files]

    def thaw(self, _: str) -> None:
        """It was not frozen."""

    def pause(self, _: str) -> None:
        self.status = "paused"

    def unpause(self, _: str) -> None:
        self.status = "running"


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (None, "/home/coder/.ssh/ld.so.preload"),
        ("/workspace/keys", "/home/coder/.ssh/ld.so.preload"),
        ("/etc", "/home/coder/ld.so.preload.before-snapshot"),
    ],
)
@pytest.mark.parametrize("status", ["running", "exited"])
@pytest.mark.parametrize("paused", [True, False])
def test_root_writes_to_no_place_that_the_user_chose_after_a_crash(
    tmp_path: Path, target: str | None, written: str, status: str, paused: bool
) -> None:
    seat = Seat({"/home/coder/.ssh": target} if target else {}, status)
    with open_store(tmp_path) as store:
        here = context(site(tmp_path), store, seat).on()
        secret = Secret("/home/coder/.ssh/ld.so.preload", 1000, 1000, 0o600, 0.0, b"/home/coder/evil.so", b"")
        snapshots._write_journal(here, row(), container(), paused, [secret])
        assert recover(here, row())
        assert not recover(here, row())
    assert seat.written == [("paused" if status == "running" else status, written)]
    assert seat.status == status


def test_a_docker_that_is_slow_is_no_file_that_changed() -> None:
    """A file that could not be read in time is read again: the journal stays, and no second version is written."""

    class Docker:
        def read(self, *_: object) -> None:
            raise AtelierError(Code.ENGINE_ERROR, as_message("Docker could not read it in time."), limit="seconds")

        def put(self, container: str, folder: str, files: list[File]) -> None:
            raise AtelierError(Code.ENGINE_ERROR, as_message("Docker could not write it in time."), limit="seconds")

    engine = cast("Any", Docker())
    secret = Secret("/home/coder/.netrc", 1000, 1000, 0o600, 0.0, b"secret", b"")
    with pytest.raises(AtelierError, match="read it in time"):
        _put_back(engine, "seat", [secret], ran=True)
    with pytest.raises(AtelierError, match="read it in time"):
        find_secrets(engine, "seat", "Seat")
    with pytest.raises(AtelierError, match="write it in time"):
        _put(engine, "seat", [secret.original(), secret.original()])
