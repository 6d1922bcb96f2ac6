"""Template images: which templates there are, when an image is built, and that two runs build it once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.messages import as_message
from atelier.common.models import Builds, Site
from atelier.containers.template_images import TemplateImages, made_from, template_folders
from atelier.engine.client import Engine
from atelier.engine.models import Image, ImageBuild
from atelier.host.platform_fingerprint import templates
from support import refused, site

SHIPPED = {"empty", "java-spring", "nodejs-react", "python-flask"}


class FakeEngine:
    """Has an IDE image; ``build`` does what ``work`` does, then there is the image."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.ide = "ide-1"
        self.made: dict[str, Image] = {}
        self.builds: list[ImageBuild] = []
        self._work = work
        self.registry: str | None = None

    def image(self, tag: str) -> Image | None:
        return Image(self.ide, [tag], (), {}) if tag == "test/ide:1" else self.made.get(tag)

    def images(self, label: str) -> list[Image]:
        return list(self.made.values())

    def pull(self, name: str) -> Image:
        if self.registry is None or not name.startswith(self.registry):
            raise AtelierError(Code.ENGINE_ERROR, as_message("Not found."))
        self.made[name] = Image("ready-made", [name], (), {})
        return self.made[name]

    def tag(self, image: str, name: str) -> None:
        self.made[name] = Image(image, [name], (), {})

    def remove_image(self, name: str, *, force: bool = False) -> bool:
        return self.made.pop(name, None) is not None

    def build(self, build: ImageBuild, report: Callable[[float, int, int], None]) -> None:
        self.builds.append(build)
        report(3.2, 1, 2)
        self._work()
        self.made[build.tag] = Image(f"image-{len(self.builds)}", [build.tag], (), build.labels)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a site's own templates, with one in it."""
    folder = tmp_path / "templates"
    (folder / "probe" / "skeleton").mkdir(parents=True)
    (folder / "probe" / "skeleton" / "hello.txt").write_text("hello")
    return folder


@pytest.fixture
def place(tmp_path: Path, own: Path) -> Site:
    builds = Builds("test/ide:1", (own,), Path("/etc/pip.conf"), Path("/root/.npmrc"), 5)
    return replace(site(tmp_path), builds=builds)


def images(place: Site, engine: FakeEngine, steps: list[str] | None = None) -> TemplateImages:
    noted: list[str] = [] if steps is None else steps
    locks = Locks(place.state_dir)
    return TemplateImages(place, cast(Engine, engine), locks, lambda step, done, total: noted.append(step))


def test_the_documented_templates_and_a_sites_own_can_be_built(place: Site, own: Path) -> None:
    (own / "empty" / "skeleton").mkdir(parents=True)
    for odd in ("Not A Name", "no-skeleton"):
        (own / odd).mkdir()
    (own / "Not A Name" / "skeleton").mkdir()
    folders = template_folders(place.builds)
    assert set(folders) == {*SHIPPED, "probe"}
    assert folders["empty"] == own / "empty"
    assert template_folders(None) == {}


def test_a_missing_image_is_built_and_the_run_tells_so(place: Site, own: Path) -> None:
    engine, steps = FakeEngine(), list[str]()
    images(place, engine, steps).require("probe")
    (build,) = engine.builds
    assert (build.tag, build.context, build.seconds) == ("test/workspace:probe", own / "probe", 5)
    assert build.labels["atelier.template"] == "probe"
    assert build.dockerfile.startswith("FROM test/ide:1\nRUN ")
    assert steps == ["building the template probe (0 s)", "building the template probe (3 s)"]
    images(place, engine).require("probe")
    assert len(engine.builds) == 1


def test_an_image_of_the_sites_registry_is_taken_and_nothing_built(place: Site) -> None:
    assert place.builds is not None
    place = replace(place, builds=replace(place.builds, images_from="registry.example.org:5000/"))
    engine = FakeEngine()
    with pytest.raises(AtelierError) as error:
        images(place, engine).require("probe")
    assert "images_publish" in refused(error, Code.ENGINE_ERROR, "atelier_images_from")
    engine.registry = "registry.example.org:5000/test/"
    images(place, engine).require("probe")
    assert {name: image.id for name, image in engine.made.items()} == {"test/workspace:probe": "ready-made"}
    assert engine.builds == []


def test_lines_for_root_stand_before_the_preparation(place: Site, own: Path) -> None:
    engine = FakeEngine()
    (own / "probe" / "image").write_text("RUN echo {braces} ${AND_MORE}\n")
    images(place, engine).require("probe")
    assert engine.builds[0].dockerfile.splitlines()[1:4] == ["USER root", "RUN echo {braces} ${AND_MORE}", ""]
    assert "USER coder\nRUN --mount" in engine.builds[0].dockerfile


def test_an_unknown_template_is_refused_with_the_known_ones(place: Site) -> None:
    engine = FakeEngine()
    with pytest.raises(AtelierError) as error:
        images(place, engine).require("cobol")
    remedy = refused(error, Code.INVALID_PROJECT_TYPE, "template")
    assert "empty, java-spring, nodejs-react, probe, python-flask" in remedy
    with pytest.raises(AtelierError):
        images(replace(place, builds=None), engine).require("empty")
    assert engine.builds == []


def test_an_image_of_other_files_is_brought_up_to_date(place: Site, own: Path) -> None:
    engine = FakeEngine()
    before = images(place, engine).bring_up_to_date("probe")
    assert made_from(engine.made["test/workspace:probe"].labels) == before == images(place, engine).current()["probe"]
    engine.ide = "ide-2"
    current = images(place, engine).current()["probe"]
    assert (current != before, len(engine.builds)) == (True, 1)
    assert images(place, engine).bring_up_to_date("probe") == current
    assert made_from(engine.made["test/workspace:probe"].labels) == current
    # Without its folder the image stays as it is; without both there is none.
    shutil.rmtree(own / "probe")
    engine.ide = "ide-3"
    assert (images(place, engine).bring_up_to_date("probe"), len(engine.builds)) == (current, 2)
    engine.made.clear()
    with pytest.raises(AtelierError) as error:
        images(place, engine).bring_up_to_date("probe")
    refused(error, Code.INVALID_PROJECT_TYPE, "template")


def test_check_mode_builds_nothing(place: Site) -> None:
    engine = FakeEngine()
    images(place, engine).require("probe", check_mode=True)
    assert images(place, engine).refresh("probe", check_mode=True)
    assert engine.builds == []


def test_two_at_once_build_it_once(place: Site) -> None:
    builds, waits = threading.Event(), threading.Event()

    def work() -> None:
        builds.set()
        assert waits.wait(30)

    engine = FakeEngine(work)
    steps: list[str] = []

    def note(step: str, done: int, total: int) -> None:
        steps.append(step)
        if step.startswith("waiting"):
            waits.set()

    def require() -> None:
        TemplateImages(place, cast(Engine, engine), Locks(place.state_dir), note).require("probe")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(require)
        assert builds.wait(30)
        pool.submit(require).result(60)
        first.result(60)
    assert len(engine.builds) == 1
    assert "waiting for another run that builds the template probe" in steps


def test_a_build_that_failed_is_tried_again(place: Site) -> None:
    broken = AtelierError(Code.TEMPLATE_BUILD_FAILED, as_message("broken"))
    failures = iter([broken])

    def work() -> None:
        for error in failures:
            raise error

    engine = FakeEngine(work)
    with pytest.raises(AtelierError):
        images(place, engine).require("probe")
    images(place, engine).require("probe")
    assert len(engine.builds) == 2


@pytest.mark.parametrize("change", ["a file", "a mode", "the IDE", "nothing"])
def test_what_an_image_is_made_from_decides_on_a_refresh(place: Site, own: Path, change: str) -> None:
    engine = FakeEngine()
    assert images(place, engine).refresh("probe")
    hello = own / "probe" / "skeleton" / "hello.txt"
    if change == "a file":
        hello.write_text("changed")
    elif change == "a mode":
        hello.chmod(0o755)
    elif change == "the IDE":
        engine.ide = "ide-2"
    assert images(place, engine).refresh("probe") is (change != "nothing")
    assert not images(place, engine).refresh("probe")


def test_without_the_ides_image_nothing_is_built(place: Site) -> None:
    elsewhere = replace(cast(Any, place.builds), ide_image="test/ide:2")
    with pytest.raises(AtelierError) as error:
        images(replace(place, builds=elsewhere), FakeEngine()).require("probe")
    assert "./atelier up" in str(error.value)


def test_images_that_were_built_on_demand_are_no_news_for_up(place: Site) -> None:
    engine = FakeEngine()
    images(place, engine).require("probe")
    images(place, engine).require("empty")
    assert templates(cast(Engine, engine), place, ["empty", "missing"]) == {"the image test/workspace:empty": "image-2"}
