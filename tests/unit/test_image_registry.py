"""The image registry: its requests, the meaning of its responses, and transfers to a machine."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.message import Message as Headers
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from atelier.common.errors import AtelierError, Code
from atelier.common.locks import Locks
from atelier.common.models import Node
from atelier.containers import distribution
from atelier.containers.distribution import collect_garbage, has_garbage, image_at, publish, stored, withdraw
from atelier.engine.connections import ClientCertificate
from atelier.engine.image_registry import ImageRegistry
from atelier.engine.models import Image
from support import context, open_store, refused, site

DIGEST = "sha256:" + "a" * 64


class Connection:
    """Answers by method and path; anything else is not there."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, host: str, port: int, **_: Any) -> None:
        self.place = host, port

    def request(self, method: str, path: str, headers: dict[str, str]) -> None:
        self._asked = f"{method} {path}"
        self.asked.append(self._asked)

    def getresponse(self) -> Any:
        if not self.answers:
            raise ConnectionRefusedError
        status, body = self.answers.get(self._asked, (404, b"{}"))
        headers = Headers()
        headers["Docker-Content-Digest"] = DIGEST
        return SimpleNamespace(status=status, headers=headers, read=lambda: body)

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ImageRegistry:
    monkeypatch.setattr(http.client, "HTTPSConnection", Connection)
    monkeypatch.setattr(ClientCertificate, "tls", lambda _: None)
    monkeypatch.setattr(Connection, "asked", [])
    monkeypatch.setattr(Connection, "answers", {"GET /v2/": (200, b"")})
    return ImageRegistry("10.0.0.10:5000", ClientCertificate.of(Path("pki"), "registry-client"))


def test_images_are_named_by_repository_and_tag(registry: ImageRegistry) -> None:
    assert registry.names("test/checkpoint") == []
    Connection.answers["GET /v2/test/checkpoint/tags/list"] = 200, b'{"tags": ["one", "two"]}'
    assert registry.names("test/checkpoint") == ["test/checkpoint:one", "test/checkpoint:two"]
    # What it answers when all are deleted.
    Connection.answers["GET /v2/test/checkpoint/tags/list"] = 200, b'{"tags": null}'
    assert registry.names("test/checkpoint") == []


def test_an_image_is_deleted_by_its_digest(registry: ImageRegistry) -> None:
    assert not registry.delete("test/checkpoint:one")
    Connection.answers["HEAD /v2/test/checkpoint/manifests/one"] = 200, b""
    Connection.answers[f"DELETE /v2/test/checkpoint/manifests/{DIGEST}"] = 202, b""
    assert registry.delete("test/checkpoint:one")
    assert Connection.asked[-1] == f"DELETE /v2/test/checkpoint/manifests/{DIGEST}"


def test_a_registry_that_does_not_answer_or_refuses_is_named(registry: ImageRegistry) -> None:
    Connection.answers["GET /v2/a/tags/list"] = 500, b""
    with pytest.raises(AtelierError) as error:
        registry.names("a")
    assert "500" in refused(error, Code.ENGINE_ERROR, "site.image_registry")
    Connection.answers.clear()
    with pytest.raises(AtelierError) as error:
        registry.names("a")
    assert "10.0.0.10:5000 does not answer" in refused(error, Code.ENGINE_ERROR, "site.image_registry")


class Registry:
    """Names without tags in memory; with ``silent`` it answers nothing."""

    def __init__(self, *names: str) -> None:
        self.images, self.silent = set(names), False

    def names(self, repository: str) -> list[str]:
        if self.silent:
            raise AtelierError(Code.ENGINE_ERROR, distribution.Message("images.silent", registry="r", kind="e"))
        return sorted(name for name in self.images if name.startswith(f"{repository}:"))

    def delete(self, name: str) -> bool:
        self.names("")
        found = name in self.images
        self.images.discard(name)
        return found


def test_deleted_images_are_garbage_until_it_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("test/checkpoint:one", "test/checkpoint:two", "test/snapshot:three")
    monkeypatch.setattr(distribution, "_registry", lambda _: registry)
    commands: list[Any] = []

    def execute(container: str, command: list[str], **_: Any) -> tuple[int, str]:
        commands.append((container, command))
        return (0, "") if len(commands) > 1 else (1, "no disk")

    several = replace(site(tmp_path), nodes=(Node("alpha", "unix:///alpha"),), image_registry="10.0.0.10:5000")
    with open_store(tmp_path) as store:
        here = context(several, store, SimpleNamespace(execute=execute))
        assert stored(several, "checkpoint") == ["test/checkpoint:one", "test/checkpoint:two"]
        withdraw(here, ["test/checkpoint:none"])
        assert not has_garbage(several)
        withdraw(here, ["test/checkpoint:one"])
        assert has_garbage(several)
        with pytest.raises(AtelierError, match="no disk"):
            collect_garbage(here)
        assert has_garbage(several), "another run collects it"
        withdraw(here, ["test/checkpoint:two"])
        assert collect_garbage(here)
        assert not has_garbage(several)
        assert commands[0][0] == "test-registry"
        registry.silent = True
        withdraw(here, ["test/snapshot:three"])  # left to reconcile
        # On a single machine there is none to ask.
        assert stored(site(tmp_path), "checkpoint") == []
        assert not has_garbage(site(tmp_path))


def test_garbage_is_not_collected_while_an_image_is_pushed(tmp_path: Path) -> None:
    removed: list[str] = []

    def push(_: str) -> None:
        assert not collect_garbage(here)
        raise AtelierError(Code.ENGINE_ERROR, distribution.Message("images.silent", registry="r", kind="e"))

    engine = SimpleNamespace(tag=lambda *_: None, push=push, remove_image=lambda name, **_: removed.append(name))
    with open_store(tmp_path) as store:
        here = context(site(tmp_path), store, engine).on()
        with pytest.raises(AtelierError, match="does not answer"):
            publish(here, Image("sha256:1", [], (), {}), "10.0.0.10:5000/test/checkpoint:one")
        # Also after a failure, or the machine would keep the image.
        assert removed == ["10.0.0.10:5000/test/checkpoint:one"]


def test_pushes_share_the_registry(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.image_push(0), locks.image_push(0), locks.image_collection() as alone:
        assert not alone
    with locks.image_collection() as alone:
        assert alone
        with pytest.raises(AtelierError, match="collecting garbage"), locks.image_push(0):
            pass


def test_runs_that_need_an_image_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    image, remote = Image("sha256:1", ["test/workspace:empty"], (), {}), "10.0.0.10:5000/test/workspace:empty"
    names = {image.tags[0]}
    pushes: list[str] = []
    both = threading.Barrier(2)

    def push(name: str) -> None:
        pushes.append(name)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # two that push meet here
        assert name in names, "nobody else removed it"

    def node() -> Any:
        present: dict[str, Image] = {}
        return SimpleNamespace(image=present.get, pull=lambda name: present.setdefault(name, image))

    controller = SimpleNamespace(
        image=lambda name: image if name in names else None,
        tag=lambda _, name: names.add(name),
        push=push,
        remove_image=lambda name, **_: names.discard(name),
    )
    with open_store(tmp_path) as store:
        there = context(replace(site(tmp_path), image_registry="10.0.0.10:5000"), store, controller).on()
        alpha, beta = (replace(there, node=name, engine=node()) for name in ("alpha", "beta"))
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(image_at, here, there, image.tags[0]) for here in (alpha, beta, alpha, beta)]
        assert [run.result() for run in runs] == [remote] * 4
        assert pushes == [remote] * 2, "once for each machine"
        assert names == set(image.tags)
