"""Images that come from a registry instead of being built: published from one machine, taken by another."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.api.running import free_port
from tests.installed import ROOT, front_door
from tests.waiting import eventually

PREFIX = "atelier-published"
NAME = f"{PREFIX}/base:trixie"
CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry, as a site has one; Docker speaks plain HTTP to this machine's own address."""
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(CONFIG.format(folder=tmp_path / "stored", port=port))
    with subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _listens(port), "the registry listens")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture
def published(engine: docker.DockerClient) -> Iterator[str]:
    """The id of an image of a platform; nothing of it is left afterwards."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("published"))
    repository, _, tag = NAME.rpartition(":")
    engine.api.import_image_from_data(
        data.getvalue(), repository=repository, tag=tag, changes=["LABEL atelier.image=base"]
    )
    # As a checkpoint, which keeps the label of the image that it stands on.
    engine.api.import_image_from_data(
        data.getvalue(),
        repository=repository,
        tag="seat",
        changes=["LABEL atelier.image=base atelier.snapshot=0123456789ab"],
    )
    yield str(engine.images.get(NAME).id)
    engine.images.remove(f"{repository}:seat", force=True)
    with suppress(docker.errors.ImageNotFound):
        engine.images.remove(NAME, force=True)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _taken(folder: Path, registry: str, name: str, **more: Any) -> dict[str, Any]:
    """The module's answer in a playbook that pulls the image from the registry."""
    order = {"name": name, "path": str(folder), **more}
    play = folder / "take.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "tasks": [{"name": "Take it", "image_build": order}]}]))
    done = subprocess.run(
        ["ansible-playbook", str(play), "-e", f"atelier_images_from={registry}"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ATELIER_RESULT": str(folder / "result.json")},
        capture_output=True,
        text=True,
        check=False,
    )
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert (done.returncode == 0) is told["successful"], done.stdout
    return told


def test_what_one_machine_published_another_takes(
    registry: str, published: str, engine: docker.DockerClient, tmp_path: Path
) -> None:
    order = ("-e", f"images_to={registry}", "-e", f"atelier_image_prefix={PREFIX}")
    done = front_door("play", "images_publish", *order)
    assert done.returncode == 0, done.stdout
    catalog = httpx.get(f"http://{registry}/v2/{PREFIX}/base/tags/list", timeout=60).json()
    assert catalog["tags"] == ["trixie"]
    # Its own name is all that is left here; then not even that, as on another machine.
    assert engine.images.get(NAME).tags == [NAME]
    engine.images.remove(NAME, force=True)

    assert _taken(tmp_path, registry, NAME)["result"]["changed"] is True
    assert engine.images.get(NAME).id == published
    assert engine.images.get(NAME).tags == [NAME]
    assert _taken(tmp_path, registry, NAME)["result"]["changed"] is False
    # A registry that is away leaves what is here.
    assert _taken(tmp_path, "127.0.0.1:9", NAME)["result"]["changed"] is False


def test_an_image_that_the_registry_does_not_have_is_refused_with_the_remedy(registry: str, tmp_path: Path) -> None:
    error = _taken(tmp_path, registry, f"{PREFIX}/gateway:none")["error"]
    assert (error["code"], error["details"]["field"]) == ("ENGINE_ERROR", "atelier_images_from")
    assert f"{registry}/{PREFIX}/gateway:none" in error["message"]
    assert "./atelier play images_publish" in error["message"]


def test_a_present_image_whose_tag_tells_what_it_is_made_of_is_neither_built_nor_pulled(
    published: str, engine: docker.DockerClient, tmp_path: Path
) -> None:
    assert _taken(tmp_path, "", NAME, unless_present=True)["result"]["changed"] is False
    assert engine.images.get(NAME).id == published
    # There is nothing to build from.
    assert not _taken(tmp_path, "", f"{PREFIX}/gateway:none", unless_present=True)["successful"]


def test_a_registry_without_a_name_is_refused() -> None:
    done = front_door("play", "images_publish", "-e", "images_to=")
    assert done.returncode != 0
    assert "images_to is missing or no registry" in done.stdout
