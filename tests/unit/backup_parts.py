"""Shared by the unit tests of backup and restore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atelier.common.errors import AtelierError, Code
from atelier.common.messages import as_message
from atelier.common.models import Node, Site
from atelier.engine.models import Container, Image, Size
from support import container, site


def private(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text)
    return file


class Docker:
    """Containers with their sizes, image tags, and what is done with them."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.tags: list[str] = []
        self.saved: list[list[str]] = []
        self.broken: dict[str, AtelierError] = {}
        self.room = 0

    def sizes(self, *_: str) -> dict[str, Size]:
        return {name: Size(own, own) for name, own in self.own.items()}

    def free_space(self) -> int:
        return self.room

    def execute(self, *_: object, **__: object) -> None:
        """A node's gateway, which does not answer."""
        raise AtelierError(Code.ENGINE_ERROR, as_message("There is none."))

    def written(self, name: str) -> int:
        return self.own[name]

    def containers(self, _: str) -> list[Container]:
        return [container(name=name, id=name) for name in self.own]

    def container_names(self, _: str) -> dict[str, str]:
        return dict.fromkeys(self.own, "")

    def rename(self, name: str, new: str) -> None:
        self.own[new] = self.own.pop(name)

    def inspect(self, name: str) -> Container | None:
        return container("exited", name=name, id=name) if name in self.own else None

    def image(self, tag: str) -> Image | None:
        return Image("sha256:1", [tag], (), {})

    def images(self, _: str) -> list[Image]:
        return []

    def images_in_use(self, _: str) -> set[str]:
        return set()

    def image_tags(self, _: str) -> list[str]:
        return list(self.tags)

    def read(self, *_: object) -> None:
        """No file is there."""

    def commit(self, name: str, tag: str, _: object) -> None:
        self.tags.append(tag)

    def save(self, tags: list[str]) -> list[bytes]:
        self.saved.append(tags)
        return [b"archive"]

    def remove_image(self, tag: str, *, force: bool) -> None:
        """Nothing."""


def several(folder: Path) -> Site:
    return replace(site(folder), nodes=tuple(Node(name, f"unix:///{name}") for name in ("alpha", "beta")))
