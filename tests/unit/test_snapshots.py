"""Which images are snapshots that nobody uses: told from those in use, and from one that is being made."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import as_message
from atelier.containers.context import Context
from atelier.containers.held_secrets import Secret, find_secrets
from atelier.containers.snapshots import _put, _put_back, leftover_snapshots
from atelier.engine.interface import File, Image
from support import site

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
    found = SimpleNamespace(site=site(folder), engine=engine, locks=Locks(folder))
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


def test_a_docker_that_is_slow_is_no_file_that_changed() -> None:
    """What could not be read in time is looked at again: the journal stays, and nothing is put beside it."""

    class Docker:
        def read(self, *_: object) -> None:
            raise AtelierError(Code.ENGINE_ERROR, as_message("Docker could not read it in time."), limit="seconds")

        def put(self, container: str, folder: str, files: list[File]) -> None:
            raise AtelierError(Code.ENGINE_ERROR, as_message("Docker could not write it in time."), limit="seconds")

    engine = cast("Any", Docker())
    secret = Secret("/home/coder/.netrc", 1000, 1000, 0o600, 0.0, b"secret", b"")
    with pytest.raises(AtelierError, match="read it in time"):
        _put_back(engine, "seat", [secret])
    with pytest.raises(AtelierError, match="read it in time"):
        find_secrets(engine, "seat")
    with pytest.raises(AtelierError, match="write it in time"):
        _put(engine, "seat", [secret.original(), secret.original()])
