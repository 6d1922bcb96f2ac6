"""Templates and their images. A template is a folder (docs/templates.md); its image is built when first needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import AtelierError, Code
from ..common.locks import Locks
from ..common.messages import Message
from ..common.models import Builds, Site
from ..common.validation import is_template
from ..engine.client import Engine
from ..engine.models import Image, ImageBuild
from ..engine.ready_made import pull_ready_made
from .context import NodeContext, Progress

_SHIPPED = Path(__file__).resolve().parents[3] / "roles" / "workspace_image" / "files" / "templates"
_INPUTS = "atelier.inputs"
# Extra time, beyond one build, that a process waits for another that builds the same template.
_LOCK_MARGIN_SECONDS = 60
_DOCKERFILE = """FROM {ide}
{as_root}RUN --mount=type=bind,target=/template \\
    --mount=type=secret,id=pip_conf,target=/etc/pip.conf,mode=0444 \\
    --mount=type=secret,id=npmrc,target=/home/coder/.npmrc,uid=1000 \\
    cp -r --preserve=mode /template/skeleton/. /workspace/ \\
    && if [ -e /template/prepare.sh ]; then sh -eu /template/prepare.sh; fi \\
    && git init --quiet --template= \\
    && git add --all \\
    && git -c user.name=Atelier -c user.email=atelier@localhost commit --quiet -m "Start of the workspace"
"""


def template_folders(builds: Builds | None) -> Mapping[str, Path]:
    """The folders of all templates by name: a site's own override Atelier's."""
    if builds is None:
        return {}
    found = [path.parent for parent in (*builds.template_dirs, _SHIPPED) for path in parent.glob("*/skeleton")]
    return {folder.name: folder for folder in reversed(found) if is_template(folder.name)}


def made_from(labels: Mapping[str, str]) -> str:
    """The digest of an image's inputs, or of the template's image below a container, from their labels: snapshots have
    the labels of the image that they began with. Empty if there is none."""
    return labels.get(_INPUTS, "")


@dataclass(frozen=True)
class TemplateImages:
    """The template images of one installation. Only one process at a time builds the image of a template."""

    site: Site
    engine: Engine
    locks: Locks
    progress: Progress

    @classmethod
    def of(cls, context: NodeContext) -> TemplateImages:
        return cls(context.site, context.engine, context.locks, context.progress)

    def require(self, template: str, *, check_mode: bool = False) -> None:
        """Builds the template's image if it is missing. Raises INVALID_PROJECT_TYPE for an unknown template, and the
        errors of ``Engine.build``."""
        if self._image(template) is None:
            folder = self._folder(template)
            if not check_mode:
                self._build(template, folder, lambda: self._image(template) is None)

    def refresh(self, template: str, *, check_mode: bool = False) -> bool:
        """Builds the template's image if it is missing or was made from other files; returns whether it was."""
        folder = self._folder(template)
        if self._is_current(template, folder):
            return False
        if not check_mode:
            self._build(template, folder, lambda: not self._is_current(template, folder))
        return True

    def bring_up_to_date(self, template: str, *, check_mode: bool = False) -> str:
        """Like ``refresh``; returns the digest of the image's inputs, like ``made_from``. If the template's folder is
        gone, its image is kept. Raises INVALID_PROJECT_TYPE if the image is gone, too."""
        image = self._image(template)
        if image is not None and template not in template_folders(self.site.builds):
            return made_from(image.labels)
        folder = self._folder(template)
        self.refresh(template, check_mode=check_mode)
        return self._inputs(folder)

    def current(self) -> dict[str, str]:
        """The digest of the present inputs by template. Raises TEMPLATE_BUILD_FAILED without the IDE's image."""
        return {name: self._inputs(folder) for name, folder in template_folders(self.site.builds).items()}

    def built(self) -> list[str]:
        """The names of all templates that have an image, sorted."""
        prefix = self.site.template_image("")
        images = self.engine.images("atelier.image=workspace")
        return sorted(tag.removeprefix(prefix) for image in images for tag in image.tags if tag.startswith(prefix))

    def _image(self, template: str) -> Image | None:
        return self.engine.image(self.site.template_image(template))

    def _folder(self, template: str) -> Path:
        folders = template_folders(self.site.builds)
        if template not in folders:
            names = ", ".join(sorted({*folders, *self.built()})) or "-"
            unknown = Message("template_unknown", template=template[:60], names=names)
            raise AtelierError(Code.INVALID_PROJECT_TYPE, unknown, field="template", value=template[:60])
        return folders[template]

    def _build(self, template: str, folder: Path, is_needed: Callable[[], bool]) -> None:
        """Builds the image, unless another process built it before this one had the lock."""
        builds = self._builds
        if not self.locks.template_free(template):
            self.progress(Message("step.template_wait", name=template), 0, 1)
        with self.locks.template(template, builds.seconds + _LOCK_MARGIN_SECONDS):
            if not is_needed():
                return

            def report(seconds: float, done: int, total: int) -> None:
                self.progress(Message("step.template", name=template, seconds=round(seconds)), done, total)

            report(0, 0, 1)
            if builds.images_from:
                pull_ready_made(self.engine, builds.images_from, self.site.template_image(template))
                return
            image = ImageBuild(
                template=template,
                tag=self.site.template_image(template),
                context=folder,
                dockerfile=self._dockerfile(folder),
                labels={"atelier.image": "workspace", "atelier.template": template, _INPUTS: self._inputs(folder)},
                secrets={"pip_conf": builds.pip_conf, "npmrc": builds.npmrc},
                seconds=builds.seconds,
            )
            self.engine.build(image, report)

    @property
    def _builds(self) -> Builds:
        assert self.site.builds is not None  # noqa: S101 - without it no template has a folder
        return self.site.builds

    def _is_current(self, template: str, folder: Path) -> bool:
        image = self._image(template)
        return image is not None and image.labels.get(_INPUTS) == self._inputs(folder)

    def _inputs(self, folder: Path) -> str:
        """A digest of the image's inputs: the template's files and the IDE's image."""
        ide = self.engine.image(self._builds.ide_image)
        if ide is None:
            missing = Message("template_without_ide", image=self._builds.ide_image)
            raise AtelierError(Code.TEMPLATE_BUILD_FAILED, missing)
        files = [
            (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode & 0o100)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return hashlib.sha256(json.dumps([files, self._dockerfile(folder), ide.id]).encode()).hexdigest()

    def _dockerfile(self, folder: Path) -> str:
        lines = folder / "image"
        as_root = f"USER root\n{lines.read_text()}\nUSER coder\n" if lines.exists() else ""
        return _DOCKERFILE.format(ide=self._builds.ide_image, as_root=as_root)
